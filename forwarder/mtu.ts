/**
 * The MTU of a connection (pure). Every forwarder on the way lowers it to what its part can carry and tells the others
 * in `context.MTU`, so that the interfaces at both ends are equal.
 */
import { MechanismType } from "../sdk/api.js";
import { ConnectionContext } from "../sdk/gen/connectioncontext.js";
import { parseAddress } from "../sdk/ip.js";
import { tunnelOverheadBytes } from "../sdk/mechanisms/overhead.js";

/** Of a connection that nothing on the way restricts: what Ethernet has had since 1980, and what every peer takes. */
export const defaultMtuBytes = 1500;
/** Least that a link may have: what every IPv4 node forwards without fragments (RFC 791). */
export const minMtuBytes = 68;
/** Least that a link may have with IPv6 addresses (RFC 8200, section 5); the kernel takes them off a smaller one. */
export const minIpv6MtuBytes = 1280;
/** Most that a link of the kernel may have (ETH_MAX_MTU, linux/if_ether.h). */
export const maxMtuBytes = 65_535;

/** Largest packet of the workload that fits into one packet of the underlay. */
export function tunnelMtuBytes(type: string, underlayMtuBytes: number, localAddress: string): number {
  return underlayMtuBytes - tunnelOverheadBytes(type, parseAddress(localAddress)?.family ?? 4);
}

/** WireGuard fills its packets up to a multiple of this (wireguard.com/protocol). */
const wireguardBlockBytes = 16;

/**
 * As `tunnelMtuBytes`, for a path that carries less than its first link. wireguard-go fills packets up without regard to an MTU
 * that was changed after its start, so there the result is a whole number of blocks: nothing is left to fill.
 */
export function pathTunnelMtuBytes(type: string, pathMtuBytes: number, linkMtuBytes: number, localAddress: string): number {
  const bytes = tunnelMtuBytes(type, pathMtuBytes, localAddress);
  const inBlocks = type === MechanismType.WIREGUARD && pathMtuBytes < linkMtuBytes;
  return inBlocks ? bytes - (bytes % wireguardBlockBytes) : bytes;
}

/**
 * What a connection that lives may grow to: never beyond what has been seen to pass (RFC 8899, section 3).
 * @param provenBytes  of each tunnel it takes here; undefined: nothing has been seen of that one
 */
export function grownMtuBytes(beforeBytes: number, wantedBytes: number, provenBytes: readonly (number | undefined)[]): number {
  const proven = Math.min(...provenBytes.map((bytes) => bytes ?? 0), maxMtuBytes);
  return Math.min(wantedBytes, Math.max(beforeBytes, proven));
}

/** The least of those that are set; undefined and 0 mean "no opinion". */
export function lowestMtuBytes(...values: readonly (number | undefined)[]): number | undefined {
  const set = values.filter((value): value is number => value !== undefined && value > 0);
  return set.length === 0 ? undefined : Math.min(...set);
}

/** The context with that MTU. */
export function withMtu(context: ConnectionContext | undefined, mtuBytes: number): ConnectionContext {
  return { ...(context ?? ConnectionContext.fromPartial({})), MTU: mtuBytes };
}
