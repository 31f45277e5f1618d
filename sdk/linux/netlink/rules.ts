/**
 * Policy rules, which choose a routing table by properties of a packet: RTM_*RULE (linux/fib_rules.h).
 */
import * as codec from "./codec.js";
import { addressFrom, type Family, formatPrefix, type IpPrefix, networkOf } from "./ip-address.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

export interface Rule {
  readonly family: Family;
  /** Smaller is looked at first. */
  readonly priority: number;
  readonly from: IpPrefix | undefined;
  /** IP protocol number; 0 = any. */
  readonly ipProtocol: number;
  /** Up to 65534; the kernel refuses 65535 (fib_rule_port_range_valid). */
  readonly sourcePorts: { readonly first: number; readonly last: number } | undefined;
  readonly destinationPorts: { readonly first: number; readonly last: number } | undefined;
  readonly table: number;
  /** Who made it. */
  readonly protocol: number;
}

const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;
const FRA_PROTOCOL = 21;
const FRA_IP_PROTO = 22;
const FRA_SPORT_RANGE = 23;
const FRA_DPORT_RANGE = 24;
const FR_ACT_TO_TBL = 1;
const headerLength = 12;

/** Equivalent: `ip rule add [from PREFIX] [ipproto N] [sport A-B] [dport A-B] table N priority P protocol 87`. */
export function addRule(rule: Rule): NetlinkRequest {
  return {
    verb: `add rule ${describeRule(rule)}`,
    type: RTM_NEWRULE,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    tolerate: ["EEXIST"],
    body: encodeRule(rule),
  };
}

/** Equivalent: `ip rule delete [from PREFIX] … table N priority P`. */
export function deleteRule(rule: Rule): NetlinkRequest {
  return { verb: `delete rule ${describeRule(rule)}`, type: RTM_DELRULE, flags: 0, tolerate: ["ENOENT"], body: encodeRule(rule) };
}

/** Equivalent: `ip [-6] rule show`. */
export function listRules(socket: NetlinkSocket, family: Family): Rule[] {
  const body = Buffer.alloc(headerLength);
  body.writeUInt8(family, 0);
  return socket
    .dump({ verb: "list rules", type: RTM_GETRULE, flags: 0, body })
    .map((message) => decodeRule(message.body))
    .filter((rule) => rule !== undefined);
}

/**
 * Reads the body of RTM_NEWRULE; undefined: of another family, or one that does not name a table.
 * @throws Error when it does not follow the format
 */
export function decodeRule(body: Buffer): Rule | undefined {
  if (body.length < headerLength) throw codec.formatError(`rule of ${body.length} bytes`);
  const family = body.readUInt8(0);
  if ((family !== 2 && family !== 10) || body.readUInt8(7) !== FR_ACT_TO_TBL) return undefined;
  const attributes = codec.decodeAttributes(body, headerLength);
  const source = addressFrom(family, attributes.get(FRA_SRC));
  return {
    family,
    priority: codec.readUnsigned(attributes.get(FRA_PRIORITY)) ?? 0,
    from: source === undefined ? undefined : { ...source, length: body.readUInt8(2) },
    ipProtocol: codec.readUnsigned(attributes.get(FRA_IP_PROTO)) ?? 0,
    sourcePorts: readPorts(attributes.get(FRA_SPORT_RANGE)),
    destinationPorts: readPorts(attributes.get(FRA_DPORT_RANGE)),
    table: codec.readUnsigned(attributes.get(FRA_TABLE)) ?? body.readUInt8(4),
    protocol: codec.readUnsigned(attributes.get(FRA_PROTOCOL)) ?? 0,
  };
}

export function describeRule(rule: Rule): string {
  const parts = [rule.from === undefined ? "from all" : `from ${formatPrefix(rule.from)}`];
  if (rule.ipProtocol !== 0) parts.push(`ipproto ${rule.ipProtocol}`);
  if (rule.sourcePorts) parts.push(`sport ${rule.sourcePorts.first}-${rule.sourcePorts.last}`);
  if (rule.destinationPorts) parts.push(`dport ${rule.destinationPorts.first}-${rule.destinationPorts.last}`);
  return `${parts.join(" ")} lookup ${rule.table}`;
}

/** struct fib_rule_hdr and its attributes. */
function encodeRule(rule: Rule): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(rule.family, 0);
  bytes.writeUInt8(rule.from?.length ?? 0, 2);
  bytes.writeUInt8(rule.table < 256 ? rule.table : 0, 4);
  bytes.writeUInt8(FR_ACT_TO_TBL, 7);
  return Buffer.concat([
    bytes,
    ...(rule.from === undefined ? [] : [codec.attribute(FRA_SRC, networkOf(rule.from).bytes)]),
    codec.u32(FRA_PRIORITY, rule.priority),
    codec.u32(FRA_TABLE, rule.table),
    codec.u8(FRA_PROTOCOL, rule.protocol),
    ...(rule.ipProtocol === 0 ? [] : [codec.u8(FRA_IP_PROTO, rule.ipProtocol)]),
    ...ports(FRA_SPORT_RANGE, rule.sourcePorts),
    ...ports(FRA_DPORT_RANGE, rule.destinationPorts),
  ]);
}

function ports(type: number, range: Rule["sourcePorts"]): Buffer[] {
  if (range === undefined) return [];
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(range.first, 0);
  bytes.writeUInt16LE(range.last, 2);
  return [codec.attribute(type, bytes)];
}

function readPorts(bytes: Buffer | undefined): Rule["sourcePorts"] {
  return bytes?.length === 4 ? { first: bytes.readUInt16LE(0), last: bytes.readUInt16LE(2) } : undefined;
}
