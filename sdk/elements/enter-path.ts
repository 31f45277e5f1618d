/**
 * enter-path — enters this application into the path of a connection, and answers in the caller's terms.
 * Does:   appends or takes over the own segment on the way in; gives back the caller's index and id on the way out
 * Fails:  INVALID_ARGUMENT when index, segments and id contradict each other
 */
import { randomUUID } from "node:crypto";
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { enterHop, leaveHop } from "../path.js";

/** @param name  the name under which this application is registered: others find it again by its segment */
export function enterPath(name: string): Element<ConnectionApi> {
  return {
    name: "enter-path",
    steps: {
      async request(request, _context, rest) {
        const hop = enterHop(request.connection ?? Connection.fromPartial({}), name, randomUUID);
        return leaveHop(await rest.request({ ...request, connection: hop.connection }), hop);
      },
      close: (connection, _context, rest) => rest.close(enterHop(connection, name, randomUUID).connection),
    },
  };
}
