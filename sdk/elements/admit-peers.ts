/**
 * admit-peers — where nobody has an identity: bounds what each caller has under way, so that the storm of one leaves the
 * others their turn. See policies/admission.ts; `admit` does it by identity.
 * Needs:  context.previous (from `serialize`)
 * Does:   a caller is a process on a unix socket; whom the kernel does not name is told apart by the first name of the path
 * Fails:  RESOURCE_EXHAUSTED with a hint when to try again
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { nextSegment } from "../path.js";
import type { Peer } from "../peer.js";
import type { Admission } from "../policies/admission.js";
import type { HasConnection } from "./serialize.js";

/** @param admission  absent = somebody else does it, by identity */
export function admitPeers(admission: Pick<Admission, "enter"> | undefined): Element<ConnectionApi, HasConnection> {
  if (admission === undefined) return { name: "admit-peers", steps: {} };
  return {
    name: "admit-peers",
    steps: {
      async request(request, { previous, peer, signal }, rest) {
        if (peer.kind === "self") return rest.request(request);
        const connection = request.connection ?? Connection.fromPartial({});
        // Unknown here but going on behind us: we were restarted, and this is a heal.
        const isKnown = previous !== undefined || nextSegment(connection) !== undefined;
        const leave = await admission.enter({ tenant: callerOf(peer, connection), isKnown, held: undefined, signal });
        try {
          return await rest.request(request);
        } finally {
          leave();
        }
      },
    },
  };
}

function callerOf(peer: Exclude<Peer, { kind: "self" }>, connection: Connection): string {
  if (peer.kind === "unix" && peer.pid !== 0) return `process ${peer.pid}`;
  const first = connection.path?.path_segments[0]?.name ?? "";
  return peer.kind === "unix" ? `${first} (uid ${peer.uid})` : `${first} at ${peer.address.replace(/:\d+$/, "")}`;
}
