/**
 * await-recovery — a newcomer may be an old client whose connection this manager, just started, is about to hear of.
 * Needs:  context.previous (from `serialize`); stands behind `choose-forwarder`: no forwarder registers later than that
 * Does:   lets Requests for unknown connections wait while forwarders show what came through them (recover.ts)
 * Fails:  ALREADY_EXISTS the connection that the caller has was learned of meanwhile: made anew, its own interface would be in the way
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { HasConnection, Serialize } from "../sdk/elements/serialize.js";
import { Code, statusError } from "../sdk/status.js";
import type { Recovery } from "./recover.js";

export interface AwaitRecoveryDeps {
  readonly recovery: () => Pick<Recovery, "settled">;
  readonly serialize: Pick<Serialize, "isSuperseded">;
}

export function awaitRecovery({
  recovery,
  serialize,
}: AwaitRecoveryDeps): Element<ConnectionApi, Pick<HasConnection, "previous">> {
  return {
    name: "await-recovery",
    steps: {
      async request(request, { previous, signal }, rest) {
        const { connection } = request;
        if (previous !== undefined || connection === undefined) return rest.request(request);
        await recovery().settled(signal);
        if (serialize.isSuperseded(connection)) {
          throw statusError(
            Code.ALREADY_EXISTS,
            "this connection is known from a former run of the manager, which has heard of it just now; ask again for it as shown",
          );
        }
        return rest.request(request);
      },
    },
  };
}
