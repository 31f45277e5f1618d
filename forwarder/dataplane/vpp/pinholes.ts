/**
 * Filters of an underlay: one list of rules for what comes in and one for what goes out, replaced as a whole when a tunnel comes
 * or goes. On a link that VPP shares with the node everything but the tunnels' packets is refused, so that VPP never answers for
 * the node. On another's interface our rules only permit, before those that stand there, and go with the last tunnel.
 */
import { bindSocket, closeDescriptor, openSocket, SOCK_DGRAM, SOL_SOCKET, setSocketOption } from "../../../sdk/linux/libc.js";
import { addressBits, type IpPrefix, parseAddress, socketAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { type NetnsHandle, withNetns } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { VppApi } from "../../vpp/client.js";
import type { Values } from "../../vpp/codec.js";
import { anyPrefix, familyOf, toVppPrefix } from "./addresses.js";
import { noIndex } from "./interfaces.js";

/** UDP packets that a tunnel needs. */
export interface Pinhole {
  readonly localAddress: string;
  /** Where they come to. */
  readonly localPort: number;
  /** Where they are sent to. */
  readonly remotePort: number;
}

const udp = 17;
const icmp6 = 58;
const lastPort = 0xffff;
/** Router solicitation and advertisement, neighbour solicitation and advertisement (RFC 4861). */
const discovery = { in: [134, 136], out: [133, 135] } as const;

type Way = "in" | "out";

export function rulesFor(way: Way, holes: readonly Pinhole[], isShared: boolean): Values[] {
  const permits = holes.map((hole) => {
    const own = hostPrefix(hole.localAddress);
    const family = familyOf(own);
    const port = way === "in" ? hole.localPort : hole.remotePort;
    return rule({
      is_permit: 1,
      src_prefix: way === "in" ? anyPrefix(family) : toVppPrefix(own),
      dst_prefix: way === "in" ? toVppPrefix(own) : anyPrefix(family),
      proto: udp,
      dstport_or_icmpcode_first: port,
      dstport_or_icmpcode_last: port,
    });
  });
  if (!isShared) return permits;
  const families = [0, 1] as const;
  return [
    ...permits,
    ...discovery[way].map((type) =>
      rule({
        is_permit: 1,
        src_prefix: anyPrefix(1),
        dst_prefix: anyPrefix(1),
        proto: icmp6,
        srcport_or_icmptype_first: type,
        srcport_or_icmptype_last: type,
        dstport_or_icmpcode_last: 0xff,
      }),
    ),
    ...families.map((family) => rule({ is_permit: 0, src_prefix: anyPrefix(family), dst_prefix: anyPrefix(family) })),
  ];
}

function rule(values: Values): Values {
  const ports = { srcport_or_icmptype_first: 0, srcport_or_icmptype_last: lastPort, dstport_or_icmpcode_first: 0 };
  return { ...ports, dstport_or_icmpcode_last: lastPort, ...values };
}

function hostPrefix(address: string): IpPrefix {
  const parsed = parseAddress(address);
  return { ...parsed, length: addressBits(parsed.family) };
}

/** Makes the filters of an interface fit the holes. No holes: our filters are taken away. */
export async function setPinholes(
  api: VppApi,
  { swIfIndex, tag, isShared }: { readonly swIfIndex: number; readonly tag: string; readonly isShared: boolean },
  holes: readonly Pinhole[],
): Promise<void> {
  if (!api.offers("acl_add_replace")) return;
  const [all, lists] = await Promise.all([
    api.dump("acl_dump", { acl_index: noIndex }),
    api.dump("acl_interface_list_dump", { sw_if_index: swIfIndex }),
  ]);
  const list = lists.find((each) => each["sw_if_index"] === swIfIndex);
  const acls = (list?.["acls"] ?? []) as readonly number[];
  const inputs = Number(list?.["n_input"] ?? 0);
  const indexOf = (way: Way): number | undefined => {
    const found = all.find((each) => each["tag"] === `${tag} ${way}`)?.["acl_index"];
    return found === undefined ? undefined : Number(found);
  };
  const ours = new Set([indexOf("in"), indexOf("out")]);
  const others = {
    in: acls.slice(0, inputs).filter((each) => !ours.has(each)),
    out: acls.slice(inputs).filter((each) => !ours.has(each)),
  };
  // Another's interface without filters lets everything through as it is.
  const wanted = holes.length > 0 && (isShared || others.in.length + others.out.length > 0);
  const own = { in: [] as number[], out: [] as number[] };
  for (const way of wanted ? (["in", "out"] as const) : []) {
    const rules = rulesFor(way, holes, isShared);
    const values = { acl_index: indexOf(way) ?? noIndex, tag: `${tag} ${way}`, count: rules.length, r: rules };
    own[way] = [Number((await api.call("acl_add_replace", values))["acl_index"])];
  }
  const next = [...own.in, ...others.in, ...own.out, ...others.out];
  if (String(next) !== String(acls)) {
    const nInput = own.in.length + others.in.length;
    await api.call("acl_interface_set_acl_list", { sw_if_index: swIfIndex, count: next.length, n_input: nInput, acls: next });
  }
  if (wanted) return;
  for (const index of ours) if (index !== undefined) await api.call("acl_del", { acl_index: index });
}

const SO_RCVBUF = 8;

/**
 * Holds a UDP port in the kernel: packets for it are VPP's, and the kernel must not answer that nobody listens. What comes fills a
 * buffer of a few packets and is dropped.
 * @throws ALREADY_EXISTS somebody else in the kernel has it
 */
export function holdPort(home: NetnsHandle, { localAddress, localPort }: Pinhole): { close(): void } {
  const address = parseAddress(localAddress);
  const socket = withNetns(home, () => openSocket(address.family, SOCK_DGRAM, 0, "open a socket that holds a tunnel's port"));
  try {
    setSocketOption(socket, SOL_SOCKET, SO_RCVBUF, 0, "shrink a buffer that nobody reads");
    bindSocket(socket, socketAddress(address, localPort), `hold UDP port ${localPort} of ${localAddress}`);
  } catch (error) {
    closeDescriptor(socket);
    if (!hasErrno(error, "EADDRINUSE")) throw error;
    const text = `UDP port ${localPort} of ${localAddress} is in use on this node, and VPP's tunnels need it; choose another (NSM_VXLAN_PORT, WEFT_WIREGUARD_PORT)`;
    throw statusError(Code.ALREADY_EXISTS, text, error);
  }
  return { close: () => closeDescriptor(socket) };
}
