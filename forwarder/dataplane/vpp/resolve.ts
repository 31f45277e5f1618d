/** The hardware address of the next hop towards an address, found out by the kernel. */
import { closeDescriptor, openSocket, SOCK_DGRAM, sendTo } from "../../../sdk/linux/libc.js";
import { formatAddress, type IpAddress, socketAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { listNeighbors, type Neighbor } from "../../../sdk/linux/netlink/neighbors.js";
import { lookUpRoute } from "../../../sdk/linux/netlink/routes.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { pause } from "../../vpp/process.js";

const patienceMs = 300;
const retryMs = 5;
/** The discard service (RFC 863): an empty packet to it makes the kernel ask for the neighbour. */
const discardPort = 9;

/** Undefined: there is no route, or nobody answers. The sockets must be of the calling thread's namespace. */
export async function neighborOf(own: NetlinkSocket, linkName: string, destination: IpAddress): Promise<Neighbor | undefined> {
  const link = getLink(own, linkName, "without-statistics");
  const route = lookUpRoute(own, { destination });
  if (link === undefined || route === undefined || route.linkIndex !== link.index) return undefined;
  const wanted = formatAddress(route.gateway ?? destination);
  const look = (): Neighbor | undefined =>
    listNeighbors(own, link.index).find(({ address, macAddress }) => macAddress !== "" && formatAddress(address) === wanted);
  const known = look();
  if (known !== undefined) return known;
  poke(destination);
  const deadlineMs = performance.now() + patienceMs;
  while (performance.now() < deadlineMs) {
    await pause(retryMs);
    const found = look();
    if (found !== undefined) return found;
  }
  return undefined;
}

function poke(destination: IpAddress): void {
  const socket = openSocket(destination.family, SOCK_DGRAM, 0, "open a socket to ask for a neighbour");
  try {
    sendTo(socket, Buffer.alloc(0), socketAddress(destination, discardPort), `ask for ${formatAddress(destination)}`);
  } catch {
    // No route, or nobody there: then it stays unknown.
  } finally {
    closeDescriptor(socket);
  }
}
