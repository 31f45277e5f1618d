/** Two small things about prefixes that only the forwarder needs (pure). */
import { type Address, formatAddress, inRange, type Prefix, rangeOf } from "../sdk/ip.js";

/** "10.0.0.0/24" for 10.0.0.7/24. */
export function networkOf(prefix: Prefix): string {
  return `${formatAddress({ family: prefix.family, value: rangeOf(prefix).first })}/${prefix.length}`;
}

export function contains(prefix: Prefix, address: Address): boolean {
  return prefix.family === address.family && inRange(address.value, rangeOf(prefix));
}
