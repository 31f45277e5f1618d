/**
 * join-wires — puts the filter between the two interfaces of each connection, as soon as both are there and again when one
 * has been made anew. Until then nothing passes: without the filter the interfaces are not joined.
 */
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { followWire } from "../../sdk/passthrough/follow-wire.js";
import type { Wire } from "../../sdk/passthrough/passthrough.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { checkFilterInterface } from "./nft-script.js";
import type { PacketFilter } from "./packet-filter.js";

export interface JoinedWires {
  /**
   * Joins the wire until it closes. Returns at once: the client's interface is made after our answer.
   * @throws INVALID_ARGUMENT an interface has a name that cannot be filtered
   */
  join(wire: Wire): void;
  stop(): Promise<void>;
}

type Netns = Pick<NetnsHandle, "fd" | "ino">;

export function joinWires(options: { readonly netns: Netns; readonly filter: PacketFilter; readonly log: Log }): JoinedWires {
  const { filter, log } = options;
  const stopping = new AbortController();
  const following = new Set<Promise<void>>();
  return {
    join(wire) {
      checkFilterInterface(wire.inInterface);
      checkFilterInterface(wire.outInterface);
      const run = follow(wire, options.netns, filter, log, AbortSignal.any([stopping.signal, wire.closed])).finally(() => {
        following.delete(run);
      });
      following.add(run);
    },
    async stop() {
      stopping.abort();
      await Promise.all(following);
    },
  };
}

/** Never rejects. */
async function follow(wire: Wire, netns: Netns, filter: PacketFilter, log: Log, signal: AbortSignal): Promise<void> {
  const { connection, inInterface, outInterface } = wire;
  const about = { connectionId: connection.id, inInterface, outInterface };
  await followWire(wire, {
    netns,
    signal,
    async join() {
      await filter.connect(connection.id, inInterface, outInterface);
      log.info("the filter stands between its interfaces", about);
    },
    onProblem: (error) => log.error("the filter cannot be put between its interfaces: nothing passes", { ...about, error }),
  });
  if (!wire.closed.aborted) return; // the process ends, the connection stays
  await filter.disconnect(connection.id).catch((error: unknown) => log.warn("the filter was not removed", { ...about, error }));
}
