/**
 * add-routes — routes that the client gets besides the one to the endpoint.
 * Does:   appends each prefix to src_routes once; the next hop is the endpoint's address of the family unless given
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Route } from "../gen/connectioncontext.js";
import { parsePrefix } from "../ip.js";
import { Code, statusError } from "../status.js";
import { editIpContext } from "./edit-context.js";
import { withRoute } from "./ipam/context-addresses.js";

/** A prefix, or a prefix with its next hop. */
export type RouteOption = string | { readonly prefix: string; readonly nextHop: string };

/**
 * @throws INVALID_ARGUMENT listing all routes that are malformed
 */
export function parseRoutes(options: readonly RouteOption[]): Route[] {
  const routes = options.map((option) => (typeof option === "string" ? { prefix: option, nextHop: "" } : option));
  const wrong = routes.filter(
    ({ prefix, nextHop }) => parsePrefix(prefix) === undefined || (nextHop !== "" && parsePrefix(nextHop) === undefined),
  );
  if (wrong.length === 0) return routes.map(({ prefix, nextHop }) => ({ prefix, nextHop }));
  const names = wrong.map(({ prefix, nextHop }) => JSON.stringify(nextHop === "" ? prefix : `${prefix} via ${nextHop}`));
  throw statusError(Code.INVALID_ARGUMENT, `not a route: ${names.join(", ")}; write prefix/length, for example 10.0.0.0/8`);
}

export function addRoutes(routes: readonly Route[]): Element<ConnectionApi> {
  return {
    name: "add-routes",
    steps: {
      async request(request, _context, rest) {
        const connection = editIpContext(request.connection, (context) => {
          let { src_routes } = context;
          for (const { prefix, nextHop } of routes) src_routes = withRoute(src_routes, prefix, nextHop);
          return { ...context, src_routes };
        });
        return rest.request({ ...request, connection });
      },
    },
  };
}
