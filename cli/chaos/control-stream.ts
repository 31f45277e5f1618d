/** Two namespaces and a cable outside the mesh: when packets get lost there, the machine did it, and the run is void. */
import { addAddress } from "../../sdk/linux/netlink/addresses.js";
import { parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVeth, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { addRoute, mainTable, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { makePodNetns } from "../mesh/underlay.js";
import { controlLink, controlNames } from "./pods.js";

/** TEST-NET-1 (RFC 5737). */
const addresses = ["192.0.2.1/32", "192.0.2.2/32"] as const;

export function layControlStream(): void {
  for (const name of controlNames) makePodNetns(name);
  const handles = controlNames.map((name) => openNetns(name));
  const [one, other] = handles.map((netns) => ({ netns, name: controlLink, macAddress: randomMac(), mtuBytes: 1500 }));
  for (const [index, handle] of handles.entries()) {
    const socket = openNetlinkSocket(handle);
    if (index === 0 && one !== undefined && other !== undefined) socket.perform([createVeth(one, other)]);
    const linkIndex = getLink(socket, controlLink)?.index ?? 0;
    const [own, far] = index === 0 ? addresses : [addresses[1], addresses[0]];
    const route = {
      prefix: parsePrefix(far),
      gateway: undefined,
      linkIndex,
      table: mainTable,
      protocol: weftProtocol,
      metric: 0,
    };
    socket.perform([addAddress(linkIndex, parsePrefix(own)), setLink(linkIndex, { up: true }), addRoute(route, "exclusive")]);
    socket.close();
  }
  for (const handle of handles) handle.close();
}
