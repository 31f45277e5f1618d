/**
 * What a state DOWN rests on. A hop that has lost sight of the next one says DOWN, and so does one that has seen an interface go or
 * a connection closed; only the latter speaks of packets. It leaves a word in its segment of the path, where NSM has room for figures
 * of a hop: who does not know it takes the DOWN as it always has.
 */
import { type Connection, State } from "../gen/connection.js";
import { withCurrentSegment, withSegment } from "../path.js";

const brokenMetric = "weft_broken";

/** DOWN, and packets do not pass here: an interface has gone, or the next hop has closed it. */
export function asBroken(connection: Connection, reason: string): Connection {
  const marked = withCurrentSegment(connection, (segment) => ({
    ...segment,
    metrics: { ...segment.metrics, [brokenMetric]: reason },
  }));
  return { ...marked, state: State.DOWN };
}

/** Whether a hop says so. */
export function isBroken(connection: Connection): boolean {
  return (connection.path?.path_segments ?? []).some(({ metrics }) => Object.hasOwn(metrics, brokenMetric));
}

/** Without such words: what is asked for anew is not known to be broken. */
export function unmarked(connection: Connection): Connection {
  const segments = connection.path?.path_segments ?? [];
  let clean = connection;
  for (const [index, { metrics }] of segments.entries()) {
    if (!Object.hasOwn(metrics, brokenMetric)) continue;
    const { [brokenMetric]: _word, ...rest } = metrics;
    clean = withSegment(clean, index, (segment) => ({ ...segment, metrics: rest }));
  }
  return clean;
}
