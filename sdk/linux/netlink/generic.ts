/** Generic netlink: parts of the kernel that are found by name and speak attributes (linux/genetlink.h). */
import { isSystemError } from "../system-error.js";
import * as codec from "./codec.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_VERSION = 2;
/** struct genlmsghdr. */
export const genericHeaderLength = 4;

export interface GenericRequest {
  /** Number of the family, from `findFamily`. */
  readonly family: number;
  readonly command: number;
  readonly version: number;
  readonly verb: string;
  readonly attributes: readonly Uint8Array[];
}

export function genericRequest({ family, command, version, verb, attributes }: GenericRequest): NetlinkRequest {
  return { verb, type: family, flags: 0, body: Buffer.concat([Uint8Array.of(command, version, 0, 0), ...attributes]) };
}

/** The number under which the kernel serves a family at the moment; undefined: it has no such family. */
export function findFamily(socket: NetlinkSocket, name: string): number | undefined {
  const request = genericRequest({
    family: GENL_ID_CTRL,
    command: CTRL_CMD_GETFAMILY,
    version: CTRL_VERSION,
    verb: `find the netlink family ${name}`,
    attributes: [codec.text(CTRL_ATTR_FAMILY_NAME, name)],
  });
  const [answer] = socket.attempt([request]);
  const reply = answer?.replies[0];
  if (reply !== undefined) return decodeFamily(reply.body);
  const { error } = answer ?? {};
  if (error === undefined || (isSystemError(error) && error.errno === "ENOENT")) return undefined;
  throw error;
}

/**
 * Reads the body of CTRL_CMD_NEWFAMILY.
 * @throws Error when it does not follow the format
 */
export function decodeFamily(body: Buffer): number | undefined {
  if (body.length < genericHeaderLength) throw codec.formatError(`family of ${body.length} bytes`);
  return codec.readUnsigned(codec.decodeAttributes(body, genericHeaderLength).get(CTRL_ATTR_FAMILY_ID));
}
