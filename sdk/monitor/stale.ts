/**
 * News that was sent before the answer that we hold: a stream whose packets were held up says late what was, and to believe it would
 * mix an old connection into the new one. Every Request writes a new end of life into the segment of who asks, and every hop keeps the
 * path as it was asked last, so that news show to which Request of ours they belong (pure).
 */
import type { Connection } from "../gen/connection.js";
import { currentSegment } from "../path.js";
import { timestampMs } from "../timestamp.js";

/**
 * Whether the next hop said this before it worked on the Request that was answered with `held`; both in our own terms. When one of
 * them bears no end of life in our segment nobody can tell, and it counts as news.
 */
export function isStale(news: Connection, held: Connection): boolean {
  const saidOf = currentSegment(news)?.expires;
  const answered = currentSegment(held)?.expires;
  return saidOf !== undefined && answered !== undefined && timestampMs(saidOf) < timestampMs(answered);
}
