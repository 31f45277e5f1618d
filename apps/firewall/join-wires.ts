/**
 * join-wires — puts the filter between the two interfaces of each connection, as soon as both are there and again when one
 * has been made anew. Until then nothing passes: without the filter the interfaces are not joined.
 */
import { getLink } from "../../sdk/linux/netlink/links.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
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

/** How soon a new interface is seen: at first, and later on. */
const eagerMs = 10;
const calmMs = 200;
const eagerForMs = 5_000;

export function joinWires(options: {
  readonly netns: Pick<NetnsHandle, "fd" | "ino">;
  readonly filter: PacketFilter;
  readonly log: Log;
}): JoinedWires {
  const { filter, log } = options;
  const socket = openNetlinkSocket(options.netns);
  const stopping = new AbortController();
  const following = new Set<Promise<void>>();
  return {
    join(wire) {
      checkFilterInterface(wire.inInterface);
      checkFilterInterface(wire.outInterface);
      const run = follow(wire, socket, filter, log, AbortSignal.any([stopping.signal, wire.closed])).finally(() => {
        following.delete(run);
      });
      following.add(run);
    },
    async stop() {
      stopping.abort();
      await Promise.all(following);
      socket.close();
    },
  };
}

/** Never rejects. */
async function follow(wire: Wire, socket: NetlinkSocket, filter: PacketFilter, log: Log, signal: AbortSignal): Promise<void> {
  const { connection, inInterface, outInterface } = wire;
  const about = { connectionId: connection.id, inInterface, outInterface };
  const startedMs = performance.now();
  let joined = "";
  let problem = "";
  while (!signal.aborted) {
    try {
      const pair = [inInterface, outInterface].map((name) => getLink(socket, name)?.index);
      const now = pair.includes(undefined) ? "" : pair.join("-");
      if (now !== "" && now !== joined) {
        await filter.connect(connection.id, inInterface, outInterface);
        log.info("the filter stands between its interfaces", about);
        problem = "";
      }
      joined = now;
    } catch (error) {
      const text = String(error);
      if (text !== problem) log.error("the filter cannot be put between its interfaces: nothing passes", { ...about, error });
      problem = text;
    }
    await pause(joined === "" && performance.now() - startedMs < eagerForMs ? eagerMs : calmMs, signal);
  }
  if (!wire.closed.aborted) return; // the process ends, the connection stays
  await filter.disconnect(connection.id).catch((error: unknown) => log.warn("the filter was not removed", { ...about, error }));
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener("abort", done);
  });
}
