/** One call on its way through the simulated network, and a stream as its reader sees it. */
import type { CallContext } from "../../sdk/chain.js";
import type { Peer } from "../../sdk/peer.js";
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import type { CallOptions } from "../../sdk/transport/call.js";
import { cutCall, type LiveCall, type Server, withdrawCall } from "./server.js";
import { keepaliveMs, type Wire } from "./wire.js";
import type { SimEvent, SimProcess, World } from "./world.js";

export interface Heard<O> {
  end(error: Error | undefined): void;
  message?(message: O): void;
}
export interface Under {
  send(work: Work): void;
  /** From the other end: this was the last. @param take  runs when the caller takes it */
  finish(error: Error | undefined, live: LiveCall, take?: () => void): void;
  leave(): void;
  isOver(): boolean;
  aborted(): void;
}
type Work = (server: Server, live: LiveCall, context: CallContext, back: (action: () => void) => void) => void;

export interface Way {
  readonly world: World;
  readonly wire: Wire;
  readonly servers: ReadonlyMap<string, Server>;
  readonly from: SimProcess;
  readonly url: string;
  /** The connection breaks before or after the other end has begun to work on it. */
  readonly breaks: "before" | "after" | undefined;
  /**
   * It comes to the other end a second time, while nobody has answered yet. The caller takes the first answer that comes, or that to one
   * of them alone, and calls off the other: the answer to that may have been given already.
   */
  readonly twice: "first" | "first alone" | "second alone" | undefined;
  readonly count: (more: 1 | -1) => void;
}

/** A connection that does not come about is given up after so long (dialTimeoutMs of the components). */
const dialTimeoutMs = 750;
const longestCallMs = 60_000;
const twiceWithinMs = 50;

/** One call on its way: what each side does with its end. */
export function underWay<O>(way: Way, options: CallOptions, isStream: boolean, heard: Heard<O>): Under {
  const { world, wire, servers, from, url } = way;
  const lives: LiveCall[] = [];
  let ended = false;
  let server: Server | undefined;
  let limit: SimEvent | undefined;
  /** Nothing overtakes on a connection. */
  const ordered = { thereMs: 0, backMs: 0 };
  const later = (process: SimProcess, delayMs: number, action: () => void): SimEvent =>
    world.at(world.nowMs() + delayMs, process, action);
  const end = (error: Error | undefined): void => {
    if (ended) return;
    forget();
    heard.end(error);
  };
  const dead = (why: string) => (): void => end(statusError(Code.UNAVAILABLE, `${url}: ${why}`));
  function forget(): void {
    ended = true;
    way.count(-1);
    options.signal.removeEventListener("abort", aborted);
    from.onDeath.delete(gone);
    server?.process.onDeath.delete(lost);
    if (limit !== undefined) limit.cancelled = true;
  }
  const broken = (): void => {
    for (const live of lives) cutCall(live, new DOMException("the connection is dead", "AbortError"));
  };
  /** The other end learns that nobody waits any more. */
  function hangUp(arrive: () => void): void {
    const target = server;
    if (target === undefined) return;
    wire.carry({ from, to: target.process, notBeforeMs: ordered.thereMs, arrive, lose: broken, loser: target.process });
  }
  /** What has come to the caller is what it has waited for; the other one is called off. */
  function takes(live: LiveCall): boolean {
    const { twice } = way;
    if (twice === undefined || twice === "first") return true;
    if (lives.indexOf(live) !== (twice === "second alone" ? 1 : 0)) return false;
    for (const other of lives) if (other !== live) hangUp(() => withdrawCall(other));
    return true;
  }
  const withdraw = (): void => hangUp(() => lives.forEach(withdrawCall));
  function aborted(): void {
    withdraw();
    end(toStatusError(options.signal.reason));
  }
  function gone(): void {
    if (!ended) forget();
    hangUp(broken);
  }
  /** The process at the other end is dead; its machine says so, if it can. */
  function lost(): void {
    const target = server;
    if (target === undefined) return;
    const silent = wire.isCut(from.node, target.process.node);
    later(from, silent ? keepaliveMs : wire.latencyMs(from, target.process), dead("the connection is dead"));
  }
  function back(action: () => void): void {
    const target = server;
    if (target === undefined) return;
    const load = { from: target.process, to: from, notBeforeMs: ordered.backMs, arrive: action, loser: from };
    ordered.backMs = wire.carry({ ...load, lose: dead("keepalive") });
  }
  function timeOut(): void {
    // the next call connects anew: nobody knows whether this connection is alive
    server?.known.delete(from);
    withdraw();
    end(statusError(Code.DEADLINE_EXCEEDED, `${url}: the deadline has passed`));
  }
  function arrive(target: Server, work: Work): void {
    target.known.add(from);
    if (!ended) target.process.onDeath.add(lost);
    const live: LiveCall = { controller: new AbortController(), isStream, undo: undefined, answered: false, deadline: undefined };
    lives.push(live);
    if (way.breaks === "after") {
      later(from, wire.latencyMs(target.process, from), dead("the connection is dead"));
      // it learns of it, or keepalive tells
      later(target.process, world.chance.next() < 0.5 ? wire.latencyMs(from, target.process) : keepaliveMs, broken);
    }
    const context = contextOf(way, target, options, live);
    const leftMs = (context.deadlineMs ?? Number.POSITIVE_INFINITY) - Date.now();
    const late = (): void => cutCall(live, new DOMException("the deadline has passed", "TimeoutError"));
    if (!isStream && Number.isFinite(leftMs)) live.deadline = later(target.process, leftMs, late);
    work(target, live, context, back);
  }

  way.count(1);
  from.onDeath.add(gone);
  options.signal.addEventListener("abort", aborted);
  if (!isStream) {
    const limitMs = Math.min((options.deadlineMs ?? Number.POSITIVE_INFINITY) - Date.now(), longestCallMs);
    limit = later(from, limitMs, timeOut);
  }
  return {
    send(work) {
      const target = servers.get(url);
      const node = target?.process.node ?? nodeOf(url) ?? from.node;
      if (wire.isCut(from.node, node) && target?.known.has(from) !== true) {
        later(from, dialTimeoutMs, dead(`no connection within ${dialTimeoutMs} ms`));
        return;
      }
      if (target === undefined || way.breaks === "before") {
        later(from, 0.2 + world.chance.next(), dead("connection refused"));
        return;
      }
      server = target;
      const load = { from, to: target.process, lose: dead("keepalive"), loser: from };
      ordered.thereMs = wire.carry({ ...load, arrive: () => arrive(target, work) });
      const again = (): void => {
        if (!ended) arrive(target, work);
      };
      if (way.twice !== undefined)
        wire.carry({ ...load, notBeforeMs: ordered.thereMs + world.chance.next() * twiceWithinMs, arrive: again, lose() {} });
      // it may die before the call arrives
      target.process.onDeath.add(lost);
    },
    finish: (error, live, take) =>
      back(() => {
        if (ended || !takes(live)) return;
        take?.();
        end(error);
      }),
    leave() {
      withdraw();
      end(undefined);
    },
    isOver: () => ended,
    aborted,
  };
}

/** The machine that has this address; undefined: a socket of one's own machine. */
function nodeOf(url: string): string | undefined {
  const last = /^tcp:\/\/10\.0\.0\.(\d+):/.exec(url)?.[1];
  return last === "254" ? "registry" : last && `node-${last}`;
}

function contextOf({ from }: Way, to: Server, options: CallOptions, live: LiveCall): CallContext {
  const unix: Peer = { kind: "unix", pid: from.pid, uid: 0, gid: 0 };
  const peer: Peer = from.node === to.process.node ? unix : { kind: "tcp", address: from.node };
  return {
    signal: live.controller.signal,
    // it travels as the time that is left
    deadlineMs: options.deadlineMs && options.deadlineMs - from.clockOffsetMs + to.process.clockOffsetMs,
    peer,
    metadata: (name) => (Object.hasOwn(options.metadata ?? {}, name) ? [options.metadata?.[name] ?? ""] : []),
    reply: (name, value) => options.onHeader?.(name, value),
    traceparent: options.traceparent,
    whenUntaken: (undo) => {
      live.undo = undo;
    },
  };
}

/** As over the wire: code and text, nothing else. */
export function copyOf(error: Error | undefined): Error | undefined {
  if (error === undefined) return undefined;
  const { code, details } = toStatusError(error);
  return statusError(code, details);
}

export async function* readStream<O>(begin: (heard: Heard<O>) => Under): AsyncIterable<O> {
  const queue: O[] = [];
  let over: { readonly error: Error | undefined } | undefined;
  let wake = (): void => {};
  const call = begin({
    message(message) {
      if (over !== undefined) return;
      queue.push(message);
      wake();
    },
    end(error) {
      over = { error };
      wake();
    },
  });
  try {
    for (;;) {
      const message = queue.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (over !== undefined) {
        if (over.error !== undefined) throw over.error;
        return;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    if (!call.isOver()) call.leave();
  }
}
