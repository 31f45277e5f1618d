/**
 * Which VXLAN network identifier a tunnel gets (pure; the caller says what the kernel refuses).
 *
 * Two nodes that are server for each other choose from different halves (even, odd), so they cannot choose the same
 * number for two connections at once; rule of NSM's vni element. Beyond that rule: never 0, which other elements take
 * for "not set", and never one twice on one UDP port of this node, whoever the peer is, because the kernel refuses a second VXLAN device
 * with one VNI and port in a network namespace.
 */
import { parseAddress } from "../sdk/ip.js";
import { maxVni, type VxlanParameters } from "../sdk/mechanisms/vxlan.js";
import { Code, statusError } from "../sdk/status.js";

/** Foreign numbers kept; when there are more, they are found out again one by one. */
const maxForeign = 10_000;
/** Random numbers to try before going through all of them. */
const randomTries = 64;

export interface VniPool {
  /**
   * Takes a free number for a connection; the same again if it holds one on that port.
   * @throws RESOURCE_EXHAUSTED when all numbers of that half are taken
   */
  allocate(request: { owner: string; udpPort: number; even: boolean }): number;
  /** Takes a given number. False if another connection or a stranger holds it. */
  claim(request: { owner: string; udpPort: number; vni: number }): boolean;
  /** What the connection holds on that port. */
  held(owner: string, udpPort: number): number | undefined;
  release(owner: string): void;
  /** The kernel refuses this number: unless a connection here holds it, a stranger does, and it is not given out any more. */
  avoid(udpPort: number, vni: number): void;
}

/**
 * @param random  a number 0 … 1, as Math.random
 * @param last  the largest number to give out
 */
export function createVniPool(random: () => number, last = maxVni): VniPool {
  const ownerOf = new Map<string, string>();
  const heldBy = new Map<string, Map<number, number>>();
  const foreign = new Set<string>();
  const key = (udpPort: number, vni: number): string => `${udpPort}/${vni}`;

  function take(owner: string, udpPort: number, vni: number): void {
    const held = heldBy.get(owner) ?? new Map<number, number>();
    const earlier = held.get(udpPort);
    if (earlier !== undefined) ownerOf.delete(key(udpPort, earlier));
    heldBy.set(owner, held.set(udpPort, vni));
    ownerOf.set(key(udpPort, vni), owner);
  }

  return {
    allocate({ owner, udpPort, even }) {
      const held = heldBy.get(owner)?.get(udpPort);
      if (held !== undefined) return held;
      const free = (vni: number): boolean => vni !== 0 && !ownerOf.has(key(udpPort, vni)) && !foreign.has(key(udpPort, vni));
      const vni = chooseVni(even, last, free, random);
      if (vni === undefined) {
        const half = even ? "even" : "odd";
        throw statusError(
          Code.RESOURCE_EXHAUSTED,
          `every ${half} VNI is in use on UDP port ${udpPort} of this node; close connections`,
        );
      }
      take(owner, udpPort, vni);
      return vni;
    },
    claim({ owner, udpPort, vni }) {
      const holder = ownerOf.get(key(udpPort, vni));
      if (holder === owner) return true;
      if (holder !== undefined || foreign.has(key(udpPort, vni))) return false;
      take(owner, udpPort, vni);
      return true;
    },
    held: (owner, udpPort) => heldBy.get(owner)?.get(udpPort),
    release(owner) {
      for (const [udpPort, vni] of heldBy.get(owner) ?? []) ownerOf.delete(key(udpPort, vni));
      heldBy.delete(owner);
    },
    avoid(udpPort, vni) {
      if (ownerOf.has(key(udpPort, vni))) return;
      if (foreign.size >= maxForeign) foreign.clear();
      foreign.add(key(udpPort, vni));
    },
  };
}

function chooseVni(even: boolean, last: number, free: (vni: number) => boolean, random: () => number): number | undefined {
  const parity = even ? 0 : 1;
  const half = (last + 1) / 2;
  const candidate = (n: number): number => (n % half) * 2 + parity;
  for (let i = 0; i < randomTries; i++) {
    const vni = candidate(Math.floor(random() * half));
    if (free(vni)) return vni;
  }
  const start = Math.floor(random() * half);
  for (let i = 0; i < half; i++) {
    const vni = candidate(start + i);
    if (free(vni)) return vni;
  }
  return undefined;
}

/**
 * True if the answering side of this tunnel chooses an even number: the asking side's address is not greater than the
 * answering side's. Addresses that a proxy has translated count as they were before, even when they are empty.
 */
export function vniIsEven(tunnel: Pick<VxlanParameters, "srcIp" | "dstIp" | "origSrcIp" | "origDstIp">): boolean {
  const source = comparable(tunnel.origSrcIp ?? tunnel.srcIp ?? "");
  const destination = comparable(tunnel.origDstIp ?? tunnel.dstIp ?? "");
  if (source === undefined) return true;
  return destination !== undefined && source <= destination;
}

/** An address as a number of 128 bits; IPv4 is mapped (::ffff:0:0/96). */
function comparable(text: string): bigint | undefined {
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  return address.family === 4 ? 0xffff_0000_0000n + address.value : address.value;
}
