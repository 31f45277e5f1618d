/** Which interface has an address, as the kernel itself would say. */
import type { LinkAddress } from "../../../sdk/linux/netlink/addresses.js";
import { formatAddress, type IpAddress, type IpPrefix, parseAddress } from "../../../sdk/linux/netlink/ip-address.js";

/** In every network namespace (LOOPBACK_IFINDEX, include/net/flow.h). */
const loopbackIndex = 1;

/** @throws INVALID_ARGUMENT it is no IP address */
export function addressOf(addresses: readonly LinkAddress[], text: string): LinkAddress | undefined {
  const wanted = parseAddress(text);
  const exact = formatAddress(wanted);
  return (
    addresses.find(({ prefix }) => formatAddress(prefix) === exact) ??
    // all addresses of the loopback's prefix are local (127.0.0.0/8: RFC 1122, section 3.2.1.3)
    addresses.find(({ linkIndex, prefix }) => linkIndex === loopbackIndex && holds(prefix, wanted))
  );
}

function holds({ family, bytes, length }: IpPrefix, wanted: IpAddress): boolean {
  if (family !== wanted.family) return false;
  for (let bit = 0; bit < length; bit++) {
    const mask = 0x80 >> (bit % 8);
    const at = bit >> 3;
    if (((bytes[at] ?? 0) & mask) !== ((wanted.bytes[at] ?? 0) & mask)) return false;
  }
  return true;
}
