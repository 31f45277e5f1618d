/** Times on the wire (google.protobuf.Timestamp) as milliseconds since the epoch, and back. */
import type { Timestamp } from "./gen/google/protobuf/timestamp.js";

export function timestampMs(timestamp: Timestamp): number {
  return timestamp.seconds * 1_000 + Math.floor(timestamp.nanos / 1_000_000);
}

export function timestampOf(timeMs: number): Timestamp {
  const seconds = Math.floor(timeMs / 1_000);
  return { seconds, nanos: Math.round((timeMs - seconds * 1_000) * 1_000_000) };
}
