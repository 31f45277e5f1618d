/**
 * All keys below a prefix, now and after each change, through every failure of etcd: a list, a watch from its revision,
 * another watch from where that one ended. When the revision has been compacted away, or belongs to another history (a
 * cluster restored from a copy), the list is made again. A watch is begun anew each minute, so that a connection that is
 * open at one end only costs no more than that.
 */
import { systemClock } from "../../../sdk/clock.js";
import { pause } from "../../../sdk/registry/pause.js";
import { Code, type StatusError, statusError, toStatusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { EtcdClient } from "./client.js";

export interface Header {
  readonly cluster_id?: string;
  readonly revision?: string;
}

export interface KeyValue {
  /** Both in base64. */
  readonly key: string;
  readonly value?: string;
  readonly mod_revision: string;
  readonly create_revision?: string;
  readonly lease?: string;
}

export interface Followed {
  readonly state: {
    readonly synced: boolean;
    readonly live: boolean;
    readonly sinceMs: number;
    readonly problem: StatusError | undefined;
  };
  synced(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

export interface FollowOptions {
  readonly client: EtcdClient;
  readonly prefix: string;
  readonly log: Log;
  /** A whole list: what is not in it is gone. `isOtherHistory`: revisions of before mean nothing any more. */
  readonly onList: (pairs: readonly KeyValue[], revision: bigint, isOtherHistory: boolean) => void;
  readonly onEvent: (type: "PUT" | "DELETE", pair: KeyValue) => void;
  readonly onLive: () => void;
  readonly timing?: { readonly watchMs: number; readonly pauseMs: number } | undefined;
}

const defaults = { watchMs: 60_000, pauseMs: 200 };
const maxPauseMs = 5_000;

export function rangeOf(prefix: string): { key: string; range_end: string } {
  const end = Buffer.from(prefix);
  // the prefix ends in "/": the next key after all that begin with it
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return { key: Buffer.from(prefix).toString("base64"), range_end: end.toString("base64") };
}

export function follow(options: FollowOptions): Followed {
  const { client, prefix, log } = options;
  const timing = options.timing ?? defaults;
  const stopped = new AbortController();
  const waiting = new Set<() => void>();
  let state: Followed["state"] = { synced: false, live: false, sinceMs: Date.now(), problem: undefined };
  let cluster: string | undefined;
  let reached = 0n;

  function setState(live: boolean, problem?: StatusError): void {
    if (live === state.live && problem?.details === state.problem?.details) return;
    if (live !== state.live || !state.synced) {
      if (live) log.info("etcd is followed", { prefix });
      else log.warn("etcd cannot be followed; what is known is kept", { prefix, error: problem });
    }
    const sinceMs = live === state.live ? state.sinceMs : Date.now();
    state = { synced: state.synced || live, live, sinceMs, problem };
    if (live) {
      for (const wake of [...waiting]) wake();
      options.onLive();
    }
  }

  async function list(): Promise<void> {
    const path = "/v3/kv/range";
    const { answer } = await client.call<{ header: Header; kvs?: KeyValue[] }>(path, rangeOf(prefix), { signal: stopped.signal });
    const revision = BigInt(answer.header.revision ?? "0");
    const isOther = cluster !== undefined && (cluster !== answer.header.cluster_id || revision < reached);
    cluster = answer.header.cluster_id;
    reached = revision;
    options.onList(answer.kvs ?? [], revision, isOther);
  }

  /** @returns whether the list must be made again */
  async function watch(): Promise<boolean> {
    const enough = new AbortController();
    const timer = setTimeout(() => enough.abort(), timing.watchMs);
    const signal = AbortSignal.any([stopped.signal, enough.signal]);
    try {
      const create_request = { ...rangeOf(prefix), start_revision: String(reached + 1n) };
      for await (const one of client.stream<WatchAnswer>("/v3/watch", { create_request }, signal)) {
        if (one.canceled === true) {
          if (one.compact_revision !== undefined) return true;
          throw statusError(Code.UNAVAILABLE, `etcd ends the watch: ${one.cancel_reason ?? "without a reason"}`);
        }
        const revision = BigInt(one.header.revision ?? "0");
        // a watch of the future would wait in silence until the new history has got there
        if (one.created === true && (one.header.cluster_id !== cluster || revision < reached)) return true;
        setState(true);
        for (const { type = "PUT", kv } of one.events ?? []) {
          options.onEvent(type, kv);
          reached = BigInt(kv.mod_revision) > reached ? BigInt(kv.mod_revision) : reached;
        }
      }
      return false;
    } catch (error) {
      if (enough.signal.aborted) return false;
      throw error;
    } finally {
      clearTimeout(timer);
      enough.abort();
    }
  }

  async function run(): Promise<void> {
    let mustList = true;
    let failures = 0;
    while (!stopped.signal.aborted) {
      const startedMs = Date.now();
      try {
        if (mustList) await list();
        mustList = false;
        mustList = await watch();
        failures = 0;
        if (Date.now() - startedMs < timing.pauseMs) await pause(systemClock, timing.pauseMs, stopped.signal);
      } catch (error) {
        if (stopped.signal.aborted) return;
        failures++;
        setState(false, toStatusError(error));
        const boundMs = Math.min(maxPauseMs, timing.pauseMs * 2 ** Math.min(failures - 1, 10));
        await pause(systemClock, boundMs * (0.5 + 0.5 * Math.random()), stopped.signal);
      }
    }
  }

  const running = run();
  return {
    get state() {
      return state;
    },
    async synced(signal) {
      while (!state.synced) {
        if (signal.aborted || stopped.signal.aborted) throw state.problem ?? toStatusError(signal.reason);
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiting.delete(wake);
            signal.removeEventListener("abort", wake);
            resolve();
          };
          waiting.add(wake);
          signal.addEventListener("abort", wake, { once: true });
        });
      }
    },
    async stop() {
      stopped.abort(new Error("stopped"));
      for (const wake of [...waiting]) wake();
      await running;
    },
  };
}

interface WatchAnswer {
  readonly header: Header;
  readonly created?: boolean;
  readonly canceled?: boolean;
  readonly cancel_reason?: string;
  readonly compact_revision?: string;
  readonly events?: readonly { readonly type?: "PUT" | "DELETE"; readonly kv: KeyValue }[];
}
