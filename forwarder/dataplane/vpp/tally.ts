/** Counters of connections over the lives of several VPPs: what a dead one has counted is still in the memory that we have mapped. */
import type { InterfaceCounters } from "../../vpp/stats.js";
import type { Counters } from "../dataplane.js";
import type { Session } from "./session.js";
import type { Held } from "./vpp.js";

export interface Tally {
  counters(current: Held, session: Session | undefined): Counters | undefined;
  /** The VPP of this session is gone: keeps what it has counted. */
  carry(held: ReadonlyMap<string, Held>, session: Session | undefined): void;
  forget(id: string): void;
}

export function createTally(): Tally {
  const carried = new Map<string, Counters>();
  /** "tx" is what comes from the client, which VPP receives. */
  const read = ({ joint }: Held, session: Session | undefined): Counters | undefined => {
    const found = joint.api === session?.api ? session.stats?.interface(joint.interfaces.client.swIfIndex) : undefined;
    return found && turned(found);
  };
  return {
    counters(current, session) {
      const before = carried.get(current.crossConnect.id);
      const now = read(current, session);
      return before !== undefined && now !== undefined ? sum(before, now) : (now ?? before);
    },
    carry(held, session) {
      for (const [id, current] of held) {
        const now = read(current, session);
        const before = carried.get(id);
        if (now !== undefined) carried.set(id, before === undefined ? now : sum(before, now));
      }
      session?.stats?.close();
    },
    forget: (id) => void carried.delete(id),
  };
}

function turned({ rxPackets, rxBytes, txPackets, txBytes, drops }: InterfaceCounters): Counters {
  return { rxPackets: txPackets, rxBytes: txBytes, txPackets: rxPackets, txBytes: rxBytes, drops };
}

function sum(one: Counters, other: Counters): Counters {
  return {
    rxPackets: one.rxPackets + other.rxPackets,
    rxBytes: one.rxBytes + other.rxBytes,
    txPackets: one.txPackets + other.txPackets,
    txBytes: one.txBytes + other.txBytes,
    drops: one.drops + other.drops,
  };
}
