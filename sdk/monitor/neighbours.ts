/**
 * watch-neighbours — learns from the next hops what becomes of connections that go on to them.
 * Needs:  context.nextHop, context.events and context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   keeps one monitor stream per neighbour, for all connections that carry our name, those of failed first requests not;
 *         passes state, path and context of theirs on to ours, unless they are older than the answer (stale.ts); a DELETE there, or
 *         the end of the stream, makes ours DOWN until they are heard of again
 * Source: NSM's monitor client (protocol behaviour §7). One stream for all, because Node ends an HTTP/2 session after about
 *         1,000 cancelled streams (docs/decisions).
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { HasNextHop } from "../elements/forward.js";
import type { ConnectionEvents, HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import { type Connection, type ConnectionEvent, ConnectionEventType, State } from "../gen/connection.js";
import { ConnectionContext } from "../gen/connectioncontext.js";
import { pause } from "../pause.js";
import { Code, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import { asBroken, isBroken, unmarked } from "./broken.js";
import type { MonitorHub } from "./hub.js";
import { isStale } from "./stale.js";

export interface WatchNeighboursOptions {
  /** Our own registered name, as in our path segments. */
  readonly name: string;
  readonly dialer: Pick<Dialer, "monitor">;
  readonly hub: Pick<MonitorHub, "get" | "publish">;
  readonly log: Log;
  /** Ends all streams. */
  readonly signal: AbortSignal;
  /** A stream with nothing to watch is kept for so long. */
  readonly lingerMs?: number;
}

interface Neighbour {
  readonly url: string;
  readonly stop: AbortController;
  /** Our connections that go on to it, by our own id. */
  readonly watched: Map<string, Watched>;
  linger: NodeJS.Timeout | undefined;
}

interface Watched {
  readonly events: ConnectionEvents;
  /** What the neighbour last said of it. */
  theirs: Connection;
  /** A request of ours is under way: its answer will say more than any event. */
  asking: boolean;
  /** The last event meanwhile: all there is when there will be no answer. */
  unheard: Connection | undefined;
}

const retryMs = { first: 100, last: 5_000 };

export function watchNeighbours(options: WatchNeighboursOptions): Element<ConnectionApi, HasConnection & HasUndo & HasNextHop> {
  const { name, dialer, hub, log, signal, lingerMs = 30_000 } = options;
  const neighbours = new Map<string, Neighbour>();
  const whereIs = new Map<string, Neighbour>();
  signal.addEventListener("abort", () => {
    for (const neighbour of neighbours.values()) drop(neighbour);
  });

  function neighbourAt(url: string): Neighbour {
    const known = neighbours.get(url);
    if (known !== undefined) return known;
    const neighbour: Neighbour = { url, stop: new AbortController(), watched: new Map(), linger: undefined };
    neighbours.set(url, neighbour);
    void listenTo(neighbour);
    return neighbour;
  }

  function drop(neighbour: Neighbour): void {
    clearTimeout(neighbour.linger);
    neighbours.delete(neighbour.url);
    neighbour.stop.abort();
  }

  function watch(url: string, theirs: Connection, events: ConnectionEvents): void {
    if (signal.aborted) return;
    const neighbour = neighbourAt(url);
    const before = whereIs.get(theirs.id);
    if (before !== undefined && before !== neighbour) forget(theirs.id);
    clearTimeout(neighbour.linger);
    neighbour.watched.set(theirs.id, { events, theirs, asking: false, unheard: undefined });
    whereIs.set(theirs.id, neighbour);
  }

  function forget(id: string): void {
    const neighbour = whereIs.get(id);
    if (neighbour === undefined) return;
    whereIs.delete(id);
    neighbour.watched.delete(id);
    if (neighbour.watched.size > 0) return;
    clearTimeout(neighbour.linger);
    neighbour.linger = setTimeout(() => drop(neighbour), lingerMs);
  }

  async function listenTo(neighbour: Neighbour): Promise<void> {
    const selector = { path_segments: [{ name, id: "", token: "", metrics: {} }], network_services: [] };
    let pauseMs = retryMs.first;
    while (!neighbour.stop.signal.aborted) {
      try {
        for await (const event of dialer.monitor(neighbour.url, selector, neighbour.stop.signal)) {
          pauseMs = retryMs.first;
          hear(neighbour, event);
        }
      } catch (error) {
        if (neighbour.stop.signal.aborted) return;
        log.info(`monitor of ${neighbour.url} ended`, { error });
        if (toStatusError(error).code === Code.UNIMPLEMENTED) pauseMs = retryMs.last;
      }
      if (neighbour.stop.signal.aborted) return;
      for (const [id, watched] of neighbour.watched) hearOf(id, watched, { ...watched.theirs, state: State.DOWN });
      await pause(pauseMs, neighbour.stop.signal);
      pauseMs = Math.min(pauseMs * 2, retryMs.last);
    }
  }

  function hear(neighbour: Neighbour, { type, connections }: ConnectionEvent): void {
    for (const theirs of Object.values(connections)) {
      const path = theirs.path;
      const own = path?.path_segments[path.index - 1];
      if (path === undefined || own === undefined || own.name !== name) continue;
      const watched = neighbour.watched.get(own.id);
      if (watched === undefined) continue;
      const seen = type === ConnectionEventType.DELETE ? asBroken(theirs, "closed there") : theirs;
      const news = { ...seen, id: own.id, path: { ...(seen.path ?? path), index: path.index - 1 } };
      if (!isStale(news, watched.theirs)) hearOf(own.id, watched, news);
    }
  }

  function hearOf(id: string, watched: Watched, theirs: Connection): void {
    if (watched.asking) watched.unheard = theirs;
    else tell(id, watched, theirs);
  }

  function answered(id: string, watched: Watched | undefined, succeeded: boolean): void {
    if (watched === undefined) return;
    const { unheard } = watched;
    watched.asking = false;
    watched.unheard = undefined;
    const isWatched = whereIs.get(id)?.watched.get(id) === watched;
    if (!succeeded && unheard !== undefined && isWatched) tell(id, watched, unheard);
  }

  /** Passes on what is new; most events only repeat what the answer to our own request has said. */
  function tell(id: string, watched: Watched, theirs: Connection): void {
    const ours = hub.get(id);
    if (ours === undefined) return;
    const contextChanged = !sameContext(theirs.context, watched.theirs.context);
    const pathChanged = !samePath(theirs, watched.theirs);
    watched.theirs = theirs;
    const stateChanged = ours.state !== theirs.state || (isBroken(theirs) && !isBroken(ours));
    if (!contextChanged && !pathChanged && !stateChanged) return;
    const context = contextChanged ? withOwnMtu(theirs.context, ours.context) : ours.context;
    const path = ours.path && theirs.path ? { ...theirs.path, index: ours.path.index } : ours.path;
    const changed: Connection = { ...ours, path, context, state: theirs.state };
    if (contextChanged || pathChanged) watched.events.changed({ ...unmarked(changed), state: State.UP });
    hub.publish(changed);
  }

  return {
    name: "watch-neighbours",
    steps: {
      async request(request, { nextHop, events, previous, undoOnFailure }, rest) {
        const id = request.connection?.id ?? "";
        const watched = whereIs.get(id)?.watched.get(id);
        if (watched !== undefined) watched.asking = true;
        let succeeded = false;
        try {
          const answer = await rest.request(request);
          if (nextHop !== undefined) watch(nextHop.url, answer, events);
          // what a hop before us could not build is closed there without us
          if (previous === undefined) undoOnFailure("watch of the next hop", () => forget(id));
          succeeded = true;
          return answer;
        } finally {
          answered(id, watched, succeeded);
        }
      },
      async close(connection, _context, rest) {
        forget(connection.id);
        await rest.close(connection);
      },
    },
  };
}

function samePath(a: Connection, b: Connection): boolean {
  const [one, other] = [a.path?.path_segments ?? [], b.path?.path_segments ?? []];
  return one.length === other.length && one.every(({ id, name }, i) => id === other[i]?.id && name === other[i]?.name);
}

function sameContext(a: ConnectionContext | undefined, b: ConnectionContext | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return Buffer.compare(ConnectionContext.encode(a).finish(), ConnectionContext.encode(b).finish()) === 0;
}

/** The MTU is ours to say: the next hop knows only the rest of the way. */
function withOwnMtu(theirs: ConnectionContext | undefined, ours: ConnectionContext | undefined): ConnectionContext | undefined {
  return theirs === undefined || ours === undefined || ours.MTU === 0 ? theirs : { ...theirs, MTU: ours.MTU };
}
