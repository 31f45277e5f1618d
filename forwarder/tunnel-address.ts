/**
 * The address from which this node's tunnels start: one that is given, the first of this machine within a given
 * prefix, or the first that other machines can reach.
 */
import { formatAddress, inRange, parseAddress, parsePrefix, rangeOf } from "../sdk/ip.js";
import { listAddresses } from "../sdk/linux/netlink/addresses.js";
import { formatAddress as formatKernelAddress } from "../sdk/linux/netlink/ip-address.js";
import { listLinks } from "../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../sdk/linux/netlink/socket.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";

export interface LocalAddress {
  readonly interfaceName: string;
  readonly address: string;
}

/**
 * Addresses of the interfaces that are up in this process' network namespace: those that other machines can reach, or
 * with "loopback-too" also those that only this one can. Asked of the kernel: os.networkInterfaces() leaves out a link
 * whose carrier has only just come, so that a forwarder that starts together with its underlay would find no address.
 */
export function localAddresses(which: "reachable" | "loopback-too"): LocalAddress[] {
  const socket = openNetlinkSocket();
  try {
    const names = new Map(listLinks(socket).flatMap(({ index, name, up }) => (up ? [[index, name] as const] : [])));
    return listAddresses(socket).flatMap(({ linkIndex, prefix }) => {
      const interfaceName = names.get(linkIndex);
      const address = formatKernelAddress(prefix);
      const hidden = isLinkLocal(address) || (which === "reachable" && isLoopback(address));
      return interfaceName === undefined || hidden ? [] : [{ interfaceName, address }];
    });
  } finally {
    socket.close();
  }
}

/**
 * @param setting  address, CIDR, or empty
 * @returns canonical text of the address
 * @throws FAILED_PRECONDITION when the machine has no such address; the text lists those it has
 */
export function chooseTunnelAddress(setting: string, local: readonly LocalAddress[]): string {
  const parsed = local.flatMap(({ address }) => parseAddress(address) ?? []);
  const have = local.map(({ interfaceName, address }) => `${address} (${interfaceName})`).join(", ") || "none";
  if (setting === "") {
    const first = parsed.find(({ family }) => family === 4) ?? parsed[0];
    if (first !== undefined) return formatAddress(first);
    throw statusError(Code.FAILED_PRECONDITION, "this machine has no address for tunnels; bring a link up or set NSM_TUNNEL_IP");
  }
  const wanted = parsePrefix(setting);
  if (wanted === undefined) {
    throw statusError(Code.FAILED_PRECONDITION, `NSM_TUNNEL_IP is "${setting}"; give an IP address or a CIDR`);
  }
  // An address with a prefix length is the address itself if it is here, else its network.
  const own = parsed.find(({ family, value }) => family === wanted.family && value === wanted.value);
  if (own !== undefined) return formatAddress(own);
  const range = rangeOf(wanted);
  const inside = parsed.find(({ family, value }) => family === wanted.family && inRange(value, range));
  if (inside !== undefined) return formatAddress(inside);
  throw statusError(
    Code.FAILED_PRECONDITION,
    `NSM_TUNNEL_IP is ${setting}, and no address of this machine is that: it has ${have}`,
  );
}

/**
 * The address for a forwarder, or undefined if this node has none: it can then join what is on the node itself. A data
 * plane that builds nothing takes any address.
 * @throws FAILED_PRECONDITION when the machine lacks the one that is asked for
 */
export function tunnelAddressOf(setting: string, dataPlaneName: string, log: Pick<Log, "warn">): string | undefined {
  // Loopback is not chosen by ourselves, but who asks for it gets it: two forwarders may share a machine.
  const local = localAddresses(setting === "" ? "reachable" : "loopback-too");
  if (dataPlaneName === "none") {
    const given = parseAddress(setting);
    if (given !== undefined) return formatAddress(given);
    if (setting === "") return local[0]?.address ?? "127.0.0.1";
  }
  if (setting === "" && local.length === 0) {
    log.warn("this node has no address for tunnels: connections to other nodes are refused; set NSM_TUNNEL_IP");
    return undefined;
  }
  // Every address of 127.0.0.0/8 is this machine's, though its interface shows one of them (RFC 1122 3.2.1.3).
  const given = parseAddress(setting);
  if (given?.family === 4 && isLoopback(formatAddress(given)) && local.some(({ address }) => isLoopback(address)))
    return formatAddress(given);
  return chooseTunnelAddress(setting, local);
}

function isLinkLocal(address: string): boolean {
  return address.toLowerCase().startsWith("fe80:") || address.startsWith("169.254.");
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
