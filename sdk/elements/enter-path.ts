/**
 * enter-path — enters this application into the path of a connection, and answers in the caller's terms.
 * Adds:   context.ownIdIsGiven: the caller has named our id of the connection; else it is made up just now
 * Does:   appends or takes over the own segment on the way in; gives back the caller's index and id on the way out
 * Fails:  INVALID_ARGUMENT when index, segments and id contradict each other
 */
import { randomUUID } from "node:crypto";
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { enterHop, type Hop, leaveHop } from "../path.js";

export interface HasOwnId {
  readonly ownIdIsGiven: boolean;
}

/** @param name  the name under which this application is registered: others find it again by its segment */
export function enterPath(name: string): Element<ConnectionApi, object, HasOwnId> {
  const enter = (connection: Connection): { readonly hop: Hop; readonly ownId: HasOwnId } => {
    let ownIdIsGiven = true;
    const hop = enterHop(connection, name, () => {
      ownIdIsGiven = false;
      return randomUUID();
    });
    return { hop, ownId: { ownIdIsGiven } };
  };
  return {
    name: "enter-path",
    steps: {
      async request(request, _context, rest) {
        const { hop, ownId } = enter(request.connection ?? Connection.fromPartial({}));
        return leaveHop(await rest.request({ ...request, connection: hop.connection }, ownId), hop);
      },
      async close(connection, _context, rest) {
        const { hop, ownId } = enter(connection);
        return await rest.close(hop.connection, ownId);
      },
    },
  };
}
