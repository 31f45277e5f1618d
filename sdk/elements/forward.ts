/**
 * forward — the end of a chain that passes on: asks the next hop.
 * Needs:  context.nextHop, context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   one Request or Close to the next hop over a pooled connection, under the caller's signal and deadline; when the
 *         next hop of a connection changes it first closes the connection at the old one; when the outcome of a first
 *         request is unknown, or a later step of ours fails, it closes what may have been made
 * Fails:  as the next hop says; UNAVAILABLE when it cannot be reached in time; INTERNAL when its answer is not for our request
 */
import { randomUUID } from "node:crypto";
import type { ConnectionApi } from "../api.js";
import type { CallContext, Handler } from "../chain.js";
import { Connection, State } from "../gen/connection.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { nextSegment } from "../path.js";
import { Code, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { neverSent } from "../transport/call.js";
import type { Dialer } from "../transport/dial.js";
import { lateCloses } from "./late-closes.js";
import type { OwedCloses } from "./owed-closes.js";
import type { HasConnection } from "./serialize.js";
import { withinTime } from "./time-limit.js";
import type { HasUndo } from "./undo.js";

/** The application that a connection goes on to. */
export interface NextHop {
  readonly url: string;
  /** Its registered name, which it writes into its path segment; empty = not known yet. */
  readonly name: string;
}
export interface HasNextHop {
  /** Undefined only on Close, when nobody knows it any more; the remembered one is used then. */
  readonly nextHop: NextHop | undefined;
}

export interface ForwardOptions {
  readonly dialer: Pick<Dialer, "connections">;
  readonly log: Log;
  /** Where closes are kept until the next hop has heard of them; absent = nowhere. */
  readonly owed?: OwedCloses | undefined;
}

/** Bound of a Close that we send on our own account, in milliseconds. */
const closeTimeoutMs = 5_000;

export function forward({ dialer, log, owed }: ForwardOptions): Handler<ConnectionApi, HasConnection & HasUndo & HasNextHop> {
  const urls = new Map<string, string>();
  const late = lateCloses({ dialer, log, owed });

  async function closeAt(url: string, connection: Connection, why: string, traceparent: string | undefined): Promise<void> {
    late.begin(url, connection);
    try {
      await withinTime(closeTimeoutMs, (signal, deadlineMs) =>
        dialer.connections(url).close(connection, { signal, deadlineMs, traceparent }),
      );
      late.heard(url, connection);
    } catch (error) {
      log.info(`close at ${url} (${why}) failed; it is tried again for a while`, { connectionId: connection.id, error });
      late.close(url, connection, error);
    }
  }

  async function ask(request: NetworkServiceRequest, url: string, context: CallContext): Promise<Connection> {
    const { signal, deadlineMs, traceparent } = context;
    try {
      return await dialer.connections(url).request(request, { signal, deadlineMs, traceparent });
    } catch (error) {
      // That is about us, not about who asked: a client told so would give up for good.
      if (toStatusError(error).code !== Code.UNAUTHENTICATED) throw error;
      throw statusError(Code.UNAVAILABLE, `${url} does not accept the identity of this hop`, error);
    }
  }

  return {
    async request(input, context) {
      const { nextHop, previous, traceparent } = context;
      if (nextHop === undefined) throw statusError(Code.INTERNAL, "no element has chosen the next hop");
      const asked = input.connection ?? Connection.fromPartial({});
      const connection = withNextSegment(asked, nextHop.name, previous);
      const { id } = connection;
      // After a restart of ours a refresh looks like a first request; its path shows that the connection lives further on.
      const goesOn = connection === asked && nextSegment(asked) !== undefined;
      const resumed = goesOn && asked.state !== State.RESELECT_REQUESTED;
      const isNew = previous === undefined && !resumed;
      const oldUrl = urls.get(id);
      if (previous !== undefined && oldUrl !== undefined && oldUrl !== nextHop.url) {
        await closeAt(oldUrl, previous, `moved to ${nextHop.url}`, traceparent);
        urls.delete(id);
      }
      late.forget(nextHop.url, connection);
      let answer: Connection;
      try {
        answer = checked(await ask({ ...input, connection }, nextHop.url, context), connection, nextHop);
      } catch (error) {
        if (isNew && outcomeUnknown(error)) {
          const closed = closeAt(nextHop.url, connection, "the outcome of the request is unknown", traceparent);
          // A hop that let the deadline pass may hang: who asks next must not wait for it as well. The close bounds itself.
          if (toStatusError(error).code !== Code.DEADLINE_EXCEEDED) await closed;
        }
        throw error;
      }
      urls.set(id, nextHop.url);
      context.undoOnFailure("forward", async () => {
        // A refresh leaves the connection as it was; only a new one is taken back.
        if (!isNew) return;
        urls.delete(id);
        await closeAt(nextHop.url, answer, "the request failed on its way back", traceparent);
      });
      return answer;
    },
    async close(connection, { nextHop, signal, deadlineMs, traceparent }) {
      const url = urls.get(connection.id) ?? nextHop?.url;
      urls.delete(connection.id);
      if (url === undefined) return;
      late.begin(url, connection);
      try {
        await dialer.connections(url).close(connection, { signal, deadlineMs, traceparent });
        late.heard(url, connection);
      } catch (error) {
        late.close(url, connection, error);
        throw error;
      }
    },
  };
}

/**
 * The path with a segment for the next hop, whose id we choose: so it can be closed even if its answer never comes.
 * A segment that bears its name already is kept; any other belonged to a hop that is no longer on the way. Who asks again and knows
 * of no way onward, as by a first Request that came twice, means what is there: with another id it would get other addresses.
 */
function withNextSegment(connection: Connection, name: string, previous: Connection | undefined): Connection {
  const path = connection.path;
  if (path === undefined || name === "") return connection;
  const next = path.index + 1;
  if (path.path_segments[next]?.name === name) return connection;
  const path_segments = path.path_segments.slice();
  const known = path_segments.length === next && previous ? nextSegment(previous) : undefined;
  const id = known?.name === name ? known.id : randomUUID();
  path_segments[next] = { name, id, token: "", metrics: {} };
  return { ...connection, path: { ...path, path_segments } };
}

/** Definite answers mean that the next hop has cleaned up; these do not. */
function outcomeUnknown(error: unknown): boolean {
  if (neverSent(error)) return false;
  const { code } = toStatusError(error);
  return code === Code.CANCELLED || code === Code.DEADLINE_EXCEEDED || code === Code.UNAVAILABLE || code === Code.UNKNOWN;
}

/** The answer, if it is one to our question: in our terms, with our own segment where we left it. */
function checked(answer: Connection, asked: Connection, nextHop: NextHop): Connection {
  const index = asked.path?.index ?? 0;
  const id = answer.path?.path_segments[index]?.id;
  if (answer.path === undefined || id !== asked.id) {
    const text = `${nextHop.name} at ${nextHop.url} answered for connection ${id ?? "without a path"} instead of ${asked.id}`;
    throw statusError(Code.INTERNAL, text);
  }
  if (answer.id === asked.id && answer.path.index === index) return answer;
  return { ...answer, id: asked.id, path: { ...answer.path, index } };
}
