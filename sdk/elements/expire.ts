/**
 * expire — closes a connection when the hop before us stops refreshing it.
 * Needs:  context.events, context.previous (from `serialize`)
 * Does:   arms one timer per connection at the expiry of the previous path segment; a refresh re-arms it, close disarms it
 * Fails:  INVALID_ARGUMENT, before anything is built, when that segment carries no expiry or has expired
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Clock, Disarm } from "../clock.js";
import { Connection } from "../gen/connection.js";
import { previousSegment } from "../path.js";
import { Code, statusError } from "../status.js";
import { timestampMs } from "../timestamp.js";
import type { HasConnection } from "./serialize.js";

export interface Expire extends Element<ConnectionApi, HasConnection> {
  /** Arms the timer of a connection that a former run of this process had; one without expiry expires at once. */
  arm(connection: Connection, onExpire: () => void): void;
}

/** @param signal  ends all timers when the process stops; without it connections that are still live keep it running */
export function expire(clock: Clock, signal?: AbortSignal): Expire {
  const timers = new Map<string, Disarm>();
  const disarm = (id: string): void => {
    timers.get(id)?.();
    timers.delete(id);
  };
  signal?.addEventListener("abort", () => {
    for (const id of timers.keys()) disarm(id);
  });
  const armAt = (id: string, timeMs: number, onExpire: () => void): void => {
    disarm(id);
    if (signal?.aborted) return;
    timers.set(
      id,
      clock.at(timeMs, () => {
        timers.delete(id);
        onExpire();
      }),
    );
  };
  return {
    name: "expire",
    steps: {
      async request(request, { events, previous }, rest) {
        const connection = request.connection ?? Connection.fromPartial({});
        const expiresMs = expiryOf(connection, clock.nowMs());
        const onExpire = (): void => events.close("the previous hop did not refresh it in time");
        // Disarmed while we ask: a refresh that is under way must not be overtaken by the old expiry.
        disarm(connection.id);
        try {
          const answer = await rest.request(request);
          armAt(connection.id, expiresMs, onExpire);
          return answer;
        } catch (error) {
          const oldMs = previous && segmentExpiryMs(previous);
          if (oldMs !== undefined) armAt(connection.id, oldMs, onExpire);
          throw error;
        }
      },
      async close(connection, _context, rest) {
        disarm(connection.id);
        await rest.close(connection);
      },
    },
    arm: (connection, onExpire) => armAt(connection.id, segmentExpiryMs(connection) ?? clock.nowMs(), onExpire),
  };
}

function segmentExpiryMs(connection: Connection): number | undefined {
  const expires = previousSegment(connection)?.expires;
  return expires === undefined ? undefined : timestampMs(expires);
}

function expiryOf(connection: Connection, nowMs: number): number {
  const segment = previousSegment(connection);
  const expiresMs = segmentExpiryMs(connection);
  if (segment === undefined || expiresMs === undefined || !Number.isFinite(expiresMs)) {
    const which = segment === undefined ? "there is no previous path segment" : `path segment ${segment.name} has no expiry`;
    throw statusError(
      Code.INVALID_ARGUMENT,
      `connection ${connection.id}: ${which}; the caller must enter itself with \`expires\``,
    );
  }
  if (expiresMs <= nowMs) {
    const when = `${Math.round((nowMs - expiresMs) / 1000)} s ago`;
    throw statusError(
      Code.INVALID_ARGUMENT,
      `connection ${connection.id}: path segment ${segment.name} expired ${when}; refresh it, or set the clocks right`,
    );
  }
  return expiresMs;
}
