/**
 * When a connection is refreshed (pure).
 * Source of the rule: behaviour of NSM's refresh element; a part of the shortest life on the path, 0.2 for a client.
 */
import type { Connection } from "../gen/connection.js";
import { timestampMs } from "../timestamp.js";

/** Part of the remaining life after which a client refreshes: 0.2 + 0.2 · index / segments, 1/3 if it is alone on the path. */
function lifePart(index: number, segments: number): number {
  return segments <= 1 ? 1 / 3 : 0.2 + (0.2 * index) / segments;
}

/** Earliest `expires` of all path segments in epoch milliseconds; undefined when no segment carries one. */
export function expiryMs(connection: Connection): number | undefined {
  const times = (connection.path?.path_segments ?? []).flatMap((segment) =>
    segment.expires === undefined ? [] : [timestampMs(segment.expires)],
  );
  return times.length === 0 ? undefined : Math.min(...times);
}

/**
 * Time of the next refresh in epoch milliseconds; now when the life is unknown or over.
 * Spread downwards only (by up to 15 %), so that the refreshes of many connections drift apart and none is late.
 * @param random  0 ≤ random < 1
 */
export function refreshAtMs(connection: Connection, nowMs: number, random: number): number {
  const endMs = expiryMs(connection);
  if (endMs === undefined || endMs <= nowMs) return nowMs;
  const part = lifePart(connection.path?.index ?? 0, connection.path?.path_segments.length ?? 1);
  return nowMs + Math.floor((endMs - nowMs) * part * (1 - 0.15 * random));
}
