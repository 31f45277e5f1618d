/** The board: counters and link states in memory that the worker writes. Reading them is no call. Layout: weft_fast.h. */

export interface DirectionCounters {
  readonly packets: bigint;
  readonly bytes: bigint;
  /** The receiver's ring or socket had no room. */
  readonly dropFull: bigint;
  readonly dropMtu: bigint;
  readonly dropPolicer: bigint;
  /** Malformed, of a foreign sender, or of no use to the other side. */
  readonly dropBad: bigint;
  /** The other side's link was down. */
  readonly dropDown: bigint;
  /** ICMP and neighbour answers that went back. */
  readonly answered: bigint;
}

/** A device of a driver, as the worker sees it. */
export interface DeviceState {
  readonly state: "none" | "opening" | "ready" | "failed";
  /** Why it has failed. */
  readonly why: string;
  readonly driver: string;
  readonly carrier: boolean;
  readonly mtuBytes: number;
  readonly macAddress: string;
  /** Next hops of which the hardware address is known. */
  readonly neighbours: number;
  readonly received: bigint;
  readonly sent: bigint;
  /** Frames that came and were not for us. */
  readonly foreign: bigint;
  /** Frames that the driver did not take. */
  readonly dropFull: bigint;
  /** Packets to a next hop that does not answer. */
  readonly dropUnknown: bigint;
}

export interface Board {
  direction(connectSlot: number, way: "ab" | "ba"): DirectionCounters;
  /** "none": no such port. */
  link(portSlot: number): "none" | "down" | "up";
  port(portSlot: number): { readonly epoch: number; readonly breaks: bigint; readonly faults: bigint };
  device(deviceSlot: number): DeviceState;
  worker(): { readonly pid: number; readonly starts: number; readonly passes: bigint; readonly sleeps: bigint };
  /** Whether the worker has carried out every order. */
  settled(): boolean;
}

const magic = 0x3142_4657;
const links = ["none", "down", "up"] as const;
const deviceStates = ["none", "opening", "ready", "failed"] as const;
const deviceBytes = 256;
const portBytes = 64;
const directionBytes = 128;

/** @throws Error when the memory is not that of a core of ours */
export function readBoard(memory: ArrayBuffer): Board {
  const words = new Uint32Array(memory);
  const longs = new BigUint64Array(memory);
  const word = (offset: number): number => words[offset / 4] ?? 0;
  const long = (offset: number): bigint => longs[offset / 8] ?? 0n;
  if (word(0) !== magic) throw new Error("the memory of the packet core begins with something else");
  const [portsAt, directionsAt] = [word(16), word(20)];
  return {
    direction(slot, way) {
      const at = directionsAt + directionBytes * (2 * slot + (way === "ab" ? 0 : 1));
      return {
        packets: long(at),
        bytes: long(at + 8),
        dropFull: long(at + 16),
        dropMtu: long(at + 24),
        dropPolicer: long(at + 32),
        dropBad: long(at + 40),
        dropDown: long(at + 48),
        answered: long(at + 56),
      };
    },
    link: (slot) => links[word(portsAt + portBytes * slot)] ?? "none",
    port(slot) {
      const at = portsAt + portBytes * slot;
      return { epoch: word(at + 4), breaks: long(at + 16), faults: long(at + 24) };
    },
    device(slot) {
      const base = word(72);
      const at = base + deviceBytes * slot;
      return {
        state: base === 0 ? "none" : (deviceStates[word(at)] ?? "none"),
        why: text(memory, at + 104, 128),
        driver: text(memory, at + 72, 32),
        carrier: word(at + 8) !== 0,
        mtuBytes: word(at + 12),
        macAddress: [...new Uint8Array(memory, at + 16, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
        neighbours: word(at + 24),
        received: long(at + 32),
        sent: long(at + 40),
        foreign: long(at + 48),
        dropFull: long(at + 56),
        dropUnknown: long(at + 64),
      };
    },
    worker: () => ({ pid: word(24), starts: word(28), passes: long(48), sleeps: long(56) }),
    settled: () => long(32) === long(40),
  };
}

/** A text that ends with NUL. */
function text(memory: ArrayBuffer, at: number, room: number): string {
  const bytes = Buffer.from(memory, at, room);
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? room : end);
}
