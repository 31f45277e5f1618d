/** Follows what all components tell, so that a list can be made again whenever anything changes: also after any of them was away. */
import { setTimeout as pause } from "node:timers/promises";
import { MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { registryOf, type Source } from "./sources.js";

export interface WatchOptions {
  readonly dialer: Dialer;
  readonly signal: AbortSignal;
  /** Makes the list again. @returns whom it asked; undefined: nobody could be found, those known so far are followed on */
  readonly again: () => Promise<readonly Source[] | undefined>;
}

/** Changes come in bursts (one connection: five events); they are shown together. */
const burstMs = 100;
/** Nobody tells when something expires, or when a component goes without a word. */
const quietMs = 2_000;
/** A component that cannot be followed is asked again after so long. */
const followAgainMs = 250;

/** Calls `again` at once, after each burst of changes, and every two seconds, until the signal aborts. */
export async function watchChanges({ dialer, signal, again }: WatchOptions): Promise<void> {
  const followed = new Map<string, { readonly stop: AbortController; readonly done: Promise<unknown> }>();
  // what is told while a list is made belongs to the next one
  let isNews = false;
  let wake = (): void => {};
  const changed = (): void => {
    isNews = true;
    wake();
  };
  signal.addEventListener("abort", changed);
  const follow = (sources: readonly Source[]): void => {
    for (const [url, { stop }] of followed) {
      if (sources.some((source) => source.url === url)) continue;
      stop.abort();
      followed.delete(url);
    }
    for (const source of sources) {
      if (followed.has(source.url)) continue;
      const stop = new AbortController();
      const limit = AbortSignal.any([signal, stop.signal]);
      const streams = streamsOf(source, sources, dialer).map((open) => followStream(open, limit, changed));
      followed.set(source.url, { stop, done: Promise.all(streams) });
    }
  };
  while (!signal.aborted) {
    isNews = false;
    const sources = await again();
    if (sources !== undefined) follow(sources);
    if (!isNews) await new Promise<void>((resolve) => rouse(resolve));
    if (!signal.aborted) await pause(burstMs);
  }
  signal.removeEventListener("abort", changed);
  await Promise.all([...followed.values()].map(({ done }) => done));

  function rouse(resolve: () => void): void {
    const timer = setTimeout(resolve, quietMs);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  }
}

type Open = (signal: AbortSignal) => AsyncIterable<unknown>;

/** Opens the stream anew whenever it ends; its end and its return are news as well. */
async function followStream(open: Open, signal: AbortSignal, changed: () => void): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const _ of open(signal)) changed();
      changed();
    } catch {
      changed(); // the next list names who is gone
    }
    await pause(followAgainMs, undefined, { signal }).catch(() => {});
  }
}

function streamsOf({ url, kind }: Source, sources: readonly Source[], dialer: Dialer): readonly Open[] {
  const monitor: Open = (signal) => dialer.monitor(url, MonitorScopeSelector.fromPartial({}), signal);
  const entries: readonly Open[] = [
    (signal) => dialer.serviceRegistry(url).find(NetworkService.fromPartial({}), { watch: true, signal }),
    (signal) => dialer.endpointRegistry(url).find(NetworkServiceEndpoint.fromPartial({}), { watch: true, signal }),
  ];
  if (kind === "registry") return entries;
  // a manager stands for the registry when none is named
  return url === registryOf(sources).url ? [monitor, ...entries] : [monitor];
}
