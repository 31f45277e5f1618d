/**
 * assign-addresses — gives each connection its addresses and host routes.
 * Needs:  context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   the same addresses at each refresh; given back on close and when a first request fails further on
 * Fails:  RESOURCE_EXHAUSTED when a pool is empty; INVALID_ARGUMENT on a malformed address or excluded prefix
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import { editIpContext } from "./edit-context.js";
import type { Ipam } from "./ipam/ipam.js";

export function assignAddresses(ipam: Ipam): Element<ConnectionApi, HasConnection & HasUndo> {
  return {
    name: "assign-addresses",
    steps: {
      async request(request, { previous, undoOnFailure }, rest) {
        const id = request.connection?.id ?? "";
        const connection = editIpContext(request.connection, (context) => ipam.assign(id, context));
        // A failed refresh keeps what the connection had: its packets may still flow.
        if (previous === undefined) undoOnFailure("addresses", () => ipam.release(id));
        return rest.request({ ...request, connection });
      },
      async close(connection, _context, rest) {
        try {
          await rest.close(connection);
        } finally {
          ipam.release(connection.id);
        }
      },
    },
  };
}
