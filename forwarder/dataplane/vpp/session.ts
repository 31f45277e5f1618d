/** One VPP from when it is reached until it is lost: its API, what of ours was found in it, its counters. */
import { dirname, join } from "node:path";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { VppApi } from "../../vpp/client.js";
import type { Values } from "../../vpp/codec.js";
import { isRefusal } from "../../vpp/refusals.js";
import { openStats, type Stats } from "../../vpp/stats.js";
import { goAdaptive, linkUp, removeInterface } from "./interfaces.js";
import { type Inventory, takeInventory } from "./inventory.js";

export interface Session {
  readonly api: VppApi;
  /** What an earlier run has left there; whatever is needed again is taken out. */
  readonly stock: Inventory;
  /** Undefined: this VPP gives none. */
  readonly stats: Stats | undefined;
  /** Interfaces of which the link is up, as far as VPP has told. */
  readonly up: ReadonlySet<number>;
}

export interface SessionOptions {
  readonly apiSocket: string;
  readonly prefix: string;
  readonly log: Log;
  readonly changed: (swIfIndex: number, what: "up" | "down" | "deleted") => void;
}

/** Interface events come before the answer of the call that causes them: they are kept for interfaces that nobody knows yet. */
export async function openSession(api: VppApi, options: SessionOptions): Promise<Session> {
  const { apiSocket, prefix, log, changed } = options;
  const up = new Set<number>();
  api.onEvent("sw_interface_event", (values) => take(values));
  const take = ({ sw_if_index, flags, deleted }: Values): void => {
    const index = Number(sw_if_index);
    const isUp = deleted !== true && (Number(flags) & linkUp) !== 0;
    if (isUp) {
      up.add(index);
      goAdaptive(api, index);
    } else up.delete(index);
    changed(index, deleted === true ? "deleted" : isUp ? "up" : "down");
  };
  if (api.offers("want_interface_events")) {
    await api.call("want_interface_events", { enable_disable: 1, pid: process.pid }).catch((error: unknown) => {
      // Registered already.
      if (!isRefusal(error, -31)) throw error;
    });
  }
  const statsSocket = join(dirname(apiSocket), "stats.sock");
  const [stock, stats] = await Promise.all([
    takeInventory(api, prefix),
    openStats(statsSocket).catch((error: unknown) => {
      log.warn(`no counters from VPP`, { statsSocket, error });
      return undefined;
    }),
  ]);
  return { api, stock, stats, up };
}

/** Takes away what nobody has taken into use. The result says what. */
export async function sweep({ api, stock }: Session): Promise<string[]> {
  const left = [...stock.interfaces.values()];
  stock.interfaces.clear();
  const gone = await Promise.allSettled(left.map((each) => removeInterface(api, each)));
  return left.filter((_, index) => gone[index]?.status === "fulfilled").map(({ kind, swIfIndex }) => `${kind} ${swIfIndex}`);
}
