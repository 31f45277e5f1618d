/**
 * route-by-policy — policy routes for the client: which traffic takes which way.
 * Does:   sets `policies` on each request; the `from` addresses become addresses of the client (with their mask, once
 *         each), those of policies that are gone are taken away
 * Source of the rules: behaviour of NSM's policyroute element.
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { PolicyRoute } from "../gen/connectioncontext.js";
import { editIpContext } from "./edit-context.js";
import { withAddress } from "./ipam/context-addresses.js";

/** @param policies  asked at each request, so that a change takes effect at the next refresh */
export function routeByPolicy(policies: () => readonly PolicyRoute[]): Element<ConnectionApi> {
  return {
    name: "route-by-policy",
    steps: {
      async request(request, _context, rest) {
        // Before addresses are assigned: to a strict pool those of the last answer's policies would look foreign.
        const cleaned = editIpContext(request.connection, (context) => {
          const before = new Set(sources(context.policies));
          return { ...context, policies: [], src_ip_addrs: context.src_ip_addrs.filter((address) => !before.has(address)) };
        });
        const answer = await rest.request({ ...request, connection: cleaned });
        const now = policies();
        return editIpContext(answer, (context) => ({
          ...context,
          policies: [...now],
          src_ip_addrs: sources(now).reduce(withAddress, context.src_ip_addrs),
        }));
      },
    },
  };
}

function sources(policies: readonly PolicyRoute[]): string[] {
  return policies.map(({ from }) => from).filter((from) => from !== "");
}
