/**
 * Numbers by which one network namespace knows others: RTM_*NSID (linux/net_namespace.h). They hold no reference:
 * a namespace with a number still ends with its last process.
 */
import type { NetnsHandle } from "../netns.js";
import * as codec from "./codec.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

const RTM_NEWNSID = 88;
const RTM_DELNSID = 89;
const RTM_GETNSID = 90;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;
/** struct rtgenmsg with its padding. */
const header = Buffer.alloc(4);

/** The number of a namespace as seen from the socket's, given now if it had none. Equivalent: `ip netns set NAME auto`. */
export function namespaceId(socket: NetlinkSocket, netns: Pick<NetnsHandle, "fd">): number {
  const which = codec.u32(NETNSA_FD, netns.fd);
  const assign: NetlinkRequest = {
    verb: "give a network namespace a number",
    type: RTM_NEWNSID,
    flags: 0,
    tolerate: ["EEXIST"],
    body: Buffer.concat([header, which, codec.u32(NETNSA_NSID, 0xffffffff)]),
  };
  const read: NetlinkRequest = {
    verb: "get the number of a network namespace",
    type: RTM_GETNSID,
    flags: 0,
    body: Buffer.concat([header, which]),
  };
  const reply = socket.perform([assign, read])[1]?.[0];
  const id = reply === undefined ? undefined : decodeNamespaceId(reply.body);
  if (id === undefined) throw codec.formatError("the kernel gave no namespace number");
  return id;
}

/** The number of a namespace that has ended, if the message says so. */
export function decodeNamespaceEnd(message: codec.IncomingMessage): number | undefined {
  return message.type === RTM_DELNSID ? decodeNamespaceId(message.body) : undefined;
}

function decodeNamespaceId(body: Buffer): number | undefined {
  if (body.length < header.length) throw codec.formatError(`namespace number of ${body.length} bytes`);
  const bytes = codec.decodeAttributes(body, header.length).get(NETNSA_NSID);
  return bytes?.length === 4 ? bytes.readInt32LE() : undefined;
}
