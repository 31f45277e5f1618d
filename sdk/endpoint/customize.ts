/**
 * customize — the endpoint author's last word on what a client gets: MAC addresses, MTU, neighbours, routes, extra context.
 * Fails:  with whatever the author's function throws; INTERNAL when it changes what is not its to change
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { Code, statusError } from "../status.js";

/** Asked at every request, also at refreshes; must give the same answer for the same question. */
export type Customize = (connection: Connection) => Connection | Promise<Connection>;

export function customize(change: Customize | undefined): Element<ConnectionApi> {
  if (change === undefined) return { name: "customize", steps: {} };
  return {
    name: "customize",
    steps: {
      async request(request, _context, rest) {
        const before = request.connection ?? Connection.fromPartial({});
        const after = await change(before);
        if (after.id !== before.id || after.path !== before.path) {
          throw statusError(Code.INTERNAL, `customize has changed id or path of connection ${before.id}, which the mesh needs`);
        }
        return rest.request({ ...request, connection: after });
      },
    },
  };
}
