/** Addresses as VPP's binary API wants them. */
import { AF_INET6 } from "../../../sdk/linux/libc.js";
import { type IpAddress, type IpPrefix, parseAddress } from "../../../sdk/linux/netlink/ip-address.js";
import type { Values } from "../../vpp/codec.js";

/** ADDRESS_IP4 and ADDRESS_IP6. */
export function familyOf({ family }: Pick<IpAddress, "family">): 0 | 1 {
  return family === AF_INET6 ? 1 : 0;
}

export function toVppAddress(address: IpAddress | string): Values {
  const parsed = typeof address === "string" ? parseAddress(address) : address;
  return { af: familyOf(parsed), un: Uint8Array.from(parsed.bytes) };
}

export function toVppPrefix(prefix: IpPrefix): Values {
  return { address: toVppAddress(prefix), len: prefix.length };
}

/** Everything of one family. */
export function anyPrefix(family: 0 | 1): Values {
  return { address: { af: family, un: new Uint8Array(16) }, len: 0 };
}

/** A path of a route or cross-connect: out of an interface, to a neighbour or, on a point-to-point link, to whoever is there. */
export function toVppPath(swIfIndex: number, family: 0 | 1, nextHop: Uint8Array | undefined): Values {
  return {
    sw_if_index: swIfIndex,
    weight: 1,
    proto: family,
    nh: { address: nextHop ?? new Uint8Array(16) },
  };
}
