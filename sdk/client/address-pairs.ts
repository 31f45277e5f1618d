/** The address pairs of a connection that should reach each other (pure). */
import { isIPv6 } from "node:net";
import type { Connection } from "../gen/connection.js";

export interface AddressPair {
  readonly source: string;
  readonly destination: string;
}

/** They are asked for with every sign of life, and messages never change. */
const known = new WeakMap<object, readonly AddressPair[]>();
const none: readonly AddressPair[] = [];

/** Every source address with every destination address of the same family, without prefix lengths; the same array for the same context. */
export function addressPairs(connection: Connection): readonly AddressPair[] {
  const context = connection.context?.ip_context;
  if (context === undefined) return none;
  const before = known.get(context);
  if (before !== undefined) return before;
  const pairs = pairsOf(context.src_ip_addrs.map(withoutPrefix), context.dst_ip_addrs.map(withoutPrefix));
  known.set(context, pairs);
  return pairs;
}

function pairsOf(sources: readonly string[], destinations: readonly string[]): AddressPair[] {
  return sources.flatMap((source) =>
    destinations.filter((destination) => isIPv6(source) === isIPv6(destination)).map((destination) => ({ source, destination })),
  );
}

function withoutPrefix(address: string): string {
  return address.split("/")[0] ?? address;
}
