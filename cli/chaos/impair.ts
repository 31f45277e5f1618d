/** What a bad cable does to one frame (pure). Frames begin with struct virtio_net_hdr (linux/virtio_net.h). */
import type { Chance } from "./random.js";
import type { Impairment } from "./schedule.js";

export const virtioHeaderBytes = 10;
const needsChecksum = 1;
const ethernetBytes = 14;
/** How much later a frame comes that others overtake. */
const overtakenMs = 15;

export type Fate = { readonly kind: "lost" } | { readonly kind: "passes"; readonly frame: Buffer; readonly afterMs: number };

export function impair(frame: Buffer, { loss, corrupt, reorder, delayMs }: Impairment, chance: Chance): Fate {
  if (chance.next() < loss) return { kind: "lost" };
  const afterMs = delayMs + (chance.next() < reorder ? overtakenMs : 0);
  if (chance.next() >= corrupt) return { kind: "passes", frame, afterMs };
  const damaged = damage(frame, chance);
  return damaged === undefined ? { kind: "lost" } : { kind: "passes", frame: damaged, afterMs };
}

/**
 * One bit is turned. The kernel leaves checksums between its own interfaces undone and would believe the frame, so the
 * checksum is finished first. Undefined: several packets in one (GSO); what a damaged one of them is worth is a loss.
 */
export function damage(frame: Buffer, chance: Chance): Buffer | undefined {
  if (frame.readUInt8(1) !== 0) return undefined;
  const copy = Buffer.from(frame);
  if ((copy.readUInt8(0) & needsChecksum) !== 0) finishChecksum(copy);
  copy.fill(0, 0, virtioHeaderBytes);
  const at = chance.between(virtioHeaderBytes + ethernetBytes, copy.length - 1);
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << chance.between(0, 7)), at);
  return copy;
}

/** RFC 1071 from csum_start to the end; the field holds the sum of the pseudo header so far. */
function finishChecksum(frame: Buffer): void {
  const start = virtioHeaderBytes + frame.readUInt16LE(6);
  const field = start + frame.readUInt16LE(8);
  let sum = 0;
  for (let at = start; at < frame.length; at += 2)
    sum += at + 1 < frame.length ? frame.readUInt16BE(at) : frame.readUInt8(at) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const done = ~sum & 0xffff;
  // a UDP checksum of zero means none (RFC 768)
  frame.writeUInt16BE(done === 0 ? 0xffff : done, field);
}
