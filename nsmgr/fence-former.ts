/**
 * fence-former — a manager that was restarted does not take a new endpoint for the one that had its name before on this node.
 * Needs:  context.isStranger (from `fence-endpoint`)
 * Does:   asks the registry whether it has the name under our own URL, from a former run of ours; then who comes is younger. The
 *         registry cannot tell: all endpoints of a node have one URL there
 * Fails:  as the registry, when it cannot be asked: two processes of one age could not be told apart any more
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { CallContext, Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { bornAfter } from "../sdk/registry/fence.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";
import type { HasStranger } from "./fence-endpoint.js";

export interface FenceFormerOptions {
  readonly endpoints: Pick<RemoteRegistry<NetworkServiceEndpoint>, "find">;
  readonly clock: Pick<Clock, "nowMs">;
  /** Bound of the question, in milliseconds, for a call without a deadline. */
  readonly requestTimeoutMs: number;
}

export function fenceFormer({
  endpoints,
  clock,
  requestTimeoutMs,
}: FenceFormerOptions): Element<EndpointRegistryApi, HasStranger> {
  /** @param entry  under our own URL */
  async function former(entry: NetworkServiceEndpoint, context: CallContext): Promise<NetworkServiceEndpoint | undefined> {
    const deadlineMs = context.deadlineMs ?? Date.now() + requestTimeoutMs;
    const options = { watch: false, signal: context.signal, deadlineMs, traceparent: context.traceparent };
    for await (const found of endpoints.find(NetworkServiceEndpoint.fromPartial({ name: entry.name }), options))
      if (!found.deleted && found.entry.name === entry.name && found.entry.url === entry.url) return found.entry;
    return undefined;
  }

  return {
    name: "fence-former",
    steps: {
      async register(entry, context, rest) {
        const known = context.isStranger ? await former(entry, context) : undefined;
        return rest.register(known === undefined ? entry : bornAfter(entry, known, clock.nowMs()));
      },
    },
  };
}
