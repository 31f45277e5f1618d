/** The structures of weft_fast.h as bytes (pure): what the FFI takes by pointer and the keeper by message. Little-endian 64-bit. */
import { parseAddress } from "../../sdk/linux/netlink/ip-address.js";
import { parseMac } from "../../sdk/linux/netlink/mac-address.js";
import type { CoreConnect, CoreDevice, CoreEntry, CorePort, PortKind } from "./core.js";

export const abi = 1;
export const portBytes = 904;
export const connectBytes = 112;
export const entryBytes = 80;
export const deviceBytes = 880;

const kinds: readonly PortKind[] = ["memif", "packet", "tap", "vxlan", "echo", "proxy", "device"];
const noDscp = 255;
/** Longest text with its terminating NUL. */
const nameBytes = 64;
const netnsBytes = 256;
const pathBytes = 128;

export function encodePort(port: CorePort): Buffer {
  const bytes = Buffer.alloc(portBytes);
  bytes.writeUInt32LE(kinds.indexOf(port.kind) + 1, 0);
  bytes.writeUInt32LE(port.mode === "ip" ? 1 : 0, 4);
  bytes.writeUInt32LE(port.role === "client" ? 1 : 0, 8);
  bytes.writeUInt32LE(port.log2Ring ?? 0, 12);
  bytes.writeUInt32LE(port.bufferBytes ?? 0, 16);
  bytes.writeUInt32LE(port.vni ?? 0, 24);
  bytes.writeUInt16LE(port.udpPort ?? 0, 28);
  if (port.localAddress !== undefined && port.remoteAddress !== undefined) {
    const [local, remote] = [parseAddress(port.localAddress), parseAddress(port.remoteAddress)];
    bytes.writeUInt16LE(local.bytes.length === 16 ? 6 : 4, 30);
    bytes.set(local.bytes, 32);
    bytes.set(remote.bytes, 48);
  }
  if (port.macAddress) bytes.set(parseMac(port.macAddress), 64);
  if (port.kind === "vxlan" && port.deviceName !== undefined) bytes.writeUInt8(1, 70);
  writeText(bytes, 72, nameBytes, port.name);
  writeText(bytes, 136, netnsBytes, port.netnsPath ?? "");
  writeText(bytes, 392, pathBytes, port.deviceName ?? port.path ?? "");
  writeText(bytes, 520, netnsBytes, port.peerNetnsPath ?? "");
  writeText(bytes, 776, pathBytes, port.peerPath ?? "");
  return bytes;
}

export function encodeConnect(connect: CoreConnect): Buffer {
  const bytes = Buffer.alloc(connectBytes);
  const [rateAb, rateBa] = connect.rateBitsPerSecond ?? [0n, 0n];
  const [burstAb, burstBa] = connect.burstBytes ?? [0n, 0n];
  writeText(bytes, 0, nameBytes, connect.name);
  bytes.writeUInt32LE(connect.portA, 64);
  bytes.writeUInt32LE(connect.portB, 68);
  bytes.writeUInt32LE(connect.mtuBytes, 72);
  bytes.writeUInt32LE(connect.dscp ?? noDscp, 76);
  for (const [index, value] of [rateAb, rateBa, burstAb, burstBa].entries()) bytes.writeBigUInt64LE(value, 80 + 8 * index);
  return bytes;
}

export function encodeDevice(device: CoreDevice): Buffer {
  const bytes = Buffer.alloc(deviceBytes);
  writeText(bytes, 0, nameBytes, device.name);
  writeText(bytes, 64, 256, device.spec);
  writeText(bytes, 320, 256, device.ealOptions ?? "");
  bytes.writeUInt32LE(device.memoryMiB ?? 0, 576);
  bytes.writeUInt32LE(["auto", "always", "never"].indexOf(device.hugePages ?? "auto"), 580);
  bytes.writeUInt32LE(device.mtuBytes ?? 0, 584);
  writeText(bytes, 624, netnsBytes, device.netnsPath ?? "");
  if (device.address !== undefined) {
    const address = parseAddress(device.address).bytes;
    bytes.writeUInt16LE(address.length === 16 ? 6 : 4, 588);
    bytes.writeUInt16LE(device.prefixBits ?? 8 * address.length, 590);
    bytes.set(address, 592);
    if (device.gateway) bytes.set(parseAddress(device.gateway).bytes, 608);
  }
  return bytes;
}

export function decodeEntries(bytes: Buffer, count: number): CoreEntry[] {
  return Array.from({ length: Math.min(count, Math.floor(bytes.length / entryBytes)) }, (_, index) => {
    const entry = bytes.subarray(index * entryBytes, (index + 1) * entryBytes);
    const kind = entry.readUInt32LE(0);
    const end = entry.indexOf(0, 16);
    return {
      kind: kinds[kind - 1] ?? "connect",
      slot: entry.readUInt32LE(4),
      portA: entry.readUInt32LE(8),
      portB: entry.readUInt32LE(12),
      name: entry.toString("utf8", 16, end < 0 ? entryBytes : end),
    };
  });
}

function writeText(bytes: Buffer, offset: number, room: number, text: string): void {
  if (Buffer.byteLength(text) >= room || text.includes("\0"))
    throw new RangeError(`"${text.slice(0, 80)}" does not fit into ${room} bytes`);
  bytes.write(text, offset, "utf8");
}
