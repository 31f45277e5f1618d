/** The address pairs of a connection that should reach each other (pure). */
import { isIPv6 } from "node:net";
import type { Connection } from "../gen/connection.js";

export interface AddressPair {
  readonly source: string;
  readonly destination: string;
}

/** Every source address with every destination address of the same family, without prefix lengths. */
export function addressPairs(connection: Connection): readonly AddressPair[] {
  const context = connection.context?.ip_context;
  const sources = (context?.src_ip_addrs ?? []).map(withoutPrefix);
  const destinations = (context?.dst_ip_addrs ?? []).map(withoutPrefix);
  return sources.flatMap((source) =>
    destinations.filter((destination) => isIPv6(source) === isIPv6(destination)).map((destination) => ({ source, destination })),
  );
}

function withoutPrefix(address: string): string {
  return address.split("/")[0] ?? address;
}
