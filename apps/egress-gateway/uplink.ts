/**
 * uplink — the interface that leads out of the mesh: one that is there, or one that is made on a parent in another
 * namespace: a veth into a bridge, else a macvlan (linux/if_link.h), which has an own MAC on the parent's segment.
 */
import { randomBytes } from "node:crypto";
import { AF_INET } from "../../sdk/linux/libc.js";
import { addAddress } from "../../sdk/linux/netlink/addresses.js";
import * as codec from "../../sdk/linux/netlink/codec.js";
import { parseAddress, parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVeth, deleteLink, getLink, type Link, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { addRoute, mainTable, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { type NetlinkRequest, type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, openNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";

export interface UplinkOptions {
  readonly netns: Pick<NetnsHandle, "fd" | "ino">;
  readonly name: string;
  readonly parent: { readonly name: string; readonly netnsUrl: string } | undefined;
  readonly addresses: readonly string[];
  readonly routers: readonly string[];
}

export interface Uplink {
  readonly kind: "existing" | "macvlan" | "bridge";
  /** Removes the interface if we have made it; its addresses and routes go with it. */
  remove(): Promise<void>;
}

const RTM_NEWLINK = 16;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_LINK = 5;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_MACVLAN_MODE = 1;
/** Gateways on one parent reach each other. */
const MACVLAN_MODE_BRIDGE = 4;

/**
 * Makes the uplink ready: interface, addresses, default routes.
 * @throws NOT_FOUND the interface or its parent does not exist; ALREADY_EXISTS the name is taken by another interface;
 *         SystemError of the kernel
 */
export async function bringUpUplink(options: UplinkOptions): Promise<Uplink> {
  const socket = openNetlinkSocket(options.netns);
  try {
    const kind = options.parent === undefined ? "existing" : makeUplink(options, options.parent, socket);
    const link = getLink(socket, options.name);
    if (link === undefined) {
      throw statusError(
        Code.NOT_FOUND,
        `there is no interface ${options.name} in the gateway's namespace: name another with WEFT_UPLINK, or give WEFT_UPLINK_PARENT`,
      );
    }
    const remove = (): Promise<void> => (kind === "existing" ? Promise.resolve() : removeLink(options, link.index));
    try {
      socket.perform(configuration(link, options));
    } catch (error) {
      await remove();
      throw error;
    }
    return { kind, remove };
  } finally {
    socket.close();
  }
}

function makeUplink(
  { netns, name }: UplinkOptions,
  parent: { readonly name: string; readonly netnsUrl: string },
  socket: NetlinkSocket,
): "macvlan" | "bridge" {
  const left = getLink(socket, name);
  if (left !== undefined) {
    if (left.alias !== aliasOf(parent.name)) {
      throw statusError(
        Code.ALREADY_EXISTS,
        `interface ${name} exists and is not ours: choose another with WEFT_UPLINK, or leave WEFT_UPLINK_PARENT out`,
      );
    }
    // From a run that was killed.
    socket.perform([deleteLink(left.index)]);
  }
  const outer = openNetns(parent.netnsUrl);
  const outside = openNetlinkSocket(outer);
  try {
    const base = getLink(outside, parent.name);
    if (base === undefined) throw statusError(Code.NOT_FOUND, `there is no interface ${parent.name} in ${parent.netnsUrl}`);
    if (base.kind === "bridge") {
      // No more than 15 bytes, and not the same for two gateways.
      const port = `weft-${randomBytes(4).toString("hex")}`;
      const end = { mtuBytes: base.mtuBytes };
      const inside = { ...end, netns, name, macAddress: randomMac() };
      outside.perform([createVeth(inside, { ...end, netns: outer, name: port, macAddress: randomMac() })]);
      const index = getLink(outside, port)?.index ?? 0;
      outside.perform([setLink(index, { masterIndex: base.index, up: true, alias: `weft uplink ${name}` })]);
    } else {
      outside.perform([createMacvlan({ parentIndex: base.index, netns, name })]);
    }
    const made = getLink(socket, name);
    if (made !== undefined) socket.perform([setLink(made.index, { alias: aliasOf(parent.name) })]);
    return base.kind === "bridge" ? "bridge" : "macvlan";
  } finally {
    outside.close();
    outer.close();
  }
}

function aliasOf(parent: string): string {
  return `weft uplink on ${parent}`;
}

/** Equivalent: `ip link add NAME netns NS address MAC link PARENT type macvlan mode bridge`. */
function createMacvlan(link: { parentIndex: number; netns: Pick<NetnsHandle, "fd">; name: string }): NetlinkRequest {
  const mac = Buffer.from(randomMac().replaceAll(":", ""), "hex");
  return {
    verb: `create macvlan ${link.name}`,
    type: RTM_NEWLINK,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    body: Buffer.concat([
      Buffer.alloc(16), // struct ifinfomsg
      codec.text(IFLA_IFNAME, link.name),
      codec.u32(IFLA_LINK, link.parentIndex),
      codec.u32(IFLA_NET_NS_FD, link.netns.fd),
      codec.attribute(IFLA_ADDRESS, mac),
      codec.nested(
        IFLA_LINKINFO,
        codec.text(IFLA_INFO_KIND, "macvlan"),
        codec.nested(IFLA_INFO_DATA, codec.u32(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE)),
      ),
    ]),
  };
}

function configuration({ index }: Link, { addresses, routers }: UplinkOptions): NetlinkRequest[] {
  const defaults = routers.map((text): NetlinkRequest => {
    const gateway = parseAddress(text);
    const prefix = parsePrefix(gateway.family === AF_INET ? "0.0.0.0/0" : "::/0");
    const route = addRoute(
      { prefix, gateway, linkIndex: index, table: mainTable, protocol: weftProtocol, metric: 0 },
      "exclusive",
    );
    return { ...route, tolerate: ["EEXIST"] };
  });
  return [setLink(index, { up: true }), ...addresses.map((address) => addAddress(index, parsePrefix(address))), ...defaults];
}

async function removeLink({ netns }: UplinkOptions, index: number): Promise<void> {
  const socket = openNetlinkSocket(netns);
  try {
    await socket.performOnThread([deleteLink(index)]);
  } finally {
    socket.close();
  }
}
