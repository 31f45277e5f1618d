/** The counters of an interface (linux/if_link.h). */

export interface LinkStatistics {
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  /** Dropped by either direction. */
  readonly drops: bigint;
}

/** struct rtnl_link_stats64: packets and bytes first, then errors, then drops. */
export function decodeStatistics(bytes: Buffer | undefined): LinkStatistics | undefined {
  if (bytes === undefined || bytes.length < 64) return undefined;
  const at = (index: number): bigint => bytes.readBigUInt64LE(index * 8);
  return { rxPackets: at(0), txPackets: at(1), rxBytes: at(2), txBytes: at(3), drops: at(6) + at(7) };
}
