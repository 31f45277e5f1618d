/**
 * own-name — a name belongs to the identity that registered it, until it is unregistered or its lease ends.
 * Needs:  caller (enter-path), current (look-up)
 * Does:   writes the identities along the way into `path_ids`; the first is the owner, so ownership lives and dies with
 *         the entry and is as durable as it. An entry without owner may be taken over by an identity.
 * Fails:  PERMISSION_DENIED when the name belongs to somebody else
 */
import type { RegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { HasCaller } from "../sdk/registry/enter-path.js";
import { matchesService } from "../sdk/registry/match.js";
import { Code, statusError } from "../sdk/status.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { Entry, Kind } from "./kind.js";
import type { HasCurrent } from "./look-up.js";

export function ownName<T extends Entry>(kind: Kind<T>): Element<RegistryApi<T>, HasCaller & HasCurrent<T>> {
  function demandOwnership(current: T | undefined, identity: string, verb: string): void {
    const owner = current?.path_ids[0] ?? "";
    if (current === undefined || owner === "" || owner === identity) return;
    const who = identity === "" ? "a caller without identity" : `"${identity}"`;
    throw statusError(
      Code.PERMISSION_DENIED,
      `${kind.noun} ${current.name} belongs to "${owner}" and cannot be ${verb} by ${who}: ${remedy(current)}`,
    );
  }
  return {
    name: "own-name",
    steps: {
      async register(entry, { caller, current }, rest) {
        if (current !== undefined && saysNothingNew(entry, current)) return current;
        demandOwnership(current, caller.identity, "registered");
        return rest.register({ ...entry, path_ids: [...caller.pathIds] });
      },
      async unregister(entry, { caller, current }, rest) {
        demandOwnership(current, caller.identity, "unregistered");
        await rest.unregister(entry);
      },
    },
  };
}

function remedy(entry: Entry): string {
  const expiry = (entry as Partial<NetworkServiceEndpoint>).expiration_time;
  const free = expiry === undefined ? "" : `, or wait for the end of its lease at ${new Date(timestampMs(expiry)).toISOString()}`;
  return `choose another name, let its owner unregister it${free}`;
}

/** Replicas of an endpoint each register the same service: that is no change, whoever asks. */
export function saysNothingNew(entry: Entry, current: Entry): boolean {
  if ("network_service_names" in entry || "network_service_names" in current) return false;
  return matchesService(entry, current) && matchesService(current, entry);
}
