/**
 * refuse-loops — a request that comes back to this manager for the endpoint it is already on its way to goes no further.
 * A manager may well be on a path twice: a function in a chain asks for the next one. But then the endpoint differs.
 * Needs:  context.previous (from `serialize`); an endpoint chosen by an element before
 * Fails:  FAILED_PRECONDITION, naming the endpoint: another candidate may do
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import type { Connection } from "../sdk/gen/connection.js";
import { Code, type StatusError, statusError } from "../sdk/status.js";

export function refuseLoops(name: string): Element<ConnectionApi, HasConnection> {
  /** The endpoint to which each of our connections goes, also while it is being asked for. */
  const goesTo = new Map<string, string>();
  return {
    name: "refuse-loops",
    steps: {
      async request(request, { previous }, rest) {
        const { connection } = request;
        const endpoint = connection?.network_service_endpoint_name ?? "";
        if (connection === undefined || endpoint === "") return rest.request(request);
        const before = connection.path?.path_segments.slice(0, connection.path.index) ?? [];
        if (before.some((segment) => segment.name === endpoint)) throw loop(connection, "it is on the path already");
        if (before.some((segment) => segment.name === name && goesTo.get(segment.id) === endpoint)) {
          throw loop(connection, "its URL leads back to this manager");
        }
        goesTo.set(connection.id, endpoint);
        try {
          return await rest.request(request);
        } catch (error) {
          if (previous === undefined) goesTo.delete(connection.id);
          else goesTo.set(connection.id, previous.network_service_endpoint_name);
          throw error;
        }
      },
      async close(connection, _context, rest) {
        goesTo.delete(connection.id);
        await rest.close(connection);
      },
    },
  };
}

function loop({ path, network_service_endpoint_name: endpoint }: Connection, why: string): StatusError {
  const names = path?.path_segments.slice(0, path.index + 1).map((segment) => segment.name) ?? [];
  const text = `endpoint ${endpoint} makes a loop, ${why} (${names.join(" → ")}); unregister it or correct its URL`;
  return statusError(Code.FAILED_PRECONDITION, text);
}
