/**
 * Node managers as a registry sees them, many in one process: each has a connection of its own, keeps a forwarder and an
 * endpoint registered, and watches the services that its clients asked for. Made of the parts that nsmgr and endpoint use.
 */
import { setMaxListeners } from "node:events";
import type { Found, Registry } from "../../sdk/api.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { watchedCache } from "../../sdk/registry/cache.js";
import { keepRegistered, type Registration } from "../../sdk/registry/keep-registered.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { inParallel } from "../registry-entries.js";

export interface Managers {
  /** Entries that they keep, and watches that they hold when all is well. */
  readonly entries: number;
  readonly watches: number;
  /** When each Register was answered, since the last `forget`; milliseconds of performance.now(). */
  readonly registered: readonly number[];
  /** Names registered since the last `forget`. */
  readonly names: ReadonlySet<string>;
  /** Watches that have told of something since they were opened. */
  readonly open: number;
  /** When each connection was asked for anew, since the last `forget`. */
  readonly knocks: readonly number[];
  forget(): void;
  stop(): Promise<void>;
}

/** Services that the clients of one manager use. */
const servicesPerManager = 3;
/** Each entry is watched by its owner. */
const entriesPerManager = 2;
/** Started together. */
const startersAtOnce = 32;

interface Seen {
  registered: number[];
  names: Set<string>;
  open: number;
  knocks: number[];
}

type Entries = Registry<NetworkServiceEndpoint>;

/** Resolves when all entries are registered. Watches open meanwhile. */
export async function startManagers(count: number, url: string): Promise<Managers> {
  const stopping = new AbortController();
  const { signal } = stopping;
  setMaxListeners(0, signal);
  const seen: Seen = { registered: [], names: new Set(), open: 0, knocks: [] };
  const dialers = Array.from({ length: count }, () => createDialer({ dialTimeoutMs: 15_000 }));
  const kept: Registration<NetworkServiceEndpoint>[] = [];
  await inParallel(count, startersAtOnce, async (index) => {
    const dialer = dialers[index];
    if (dialer === undefined) return;
    const registry = observed(dialer.endpointRegistry(url), seen);
    kept.push(await keepRegistered(registry, entry(`forwarder-${index}`, "forwarder", index), { log: silentLog, signal }));
    kept.push(await keepRegistered(registry, entry(`nse-${index}`, `service-${index}`, index), { log: silentLog, signal }));
  });
  const lookUps = dialers.map((dialer) =>
    watchedCache(observed(dialer.endpointRegistry(url), seen), { log: silentLog, signal, idleMs: 3_600_000 }),
  );
  await inParallel(count, startersAtOnce, async (index) => {
    for (let next = 1; next <= servicesPerManager; next++) {
      const query = NetworkServiceEndpoint.fromPartial({ network_service_names: [`service-${(index + next) % count}`] });
      for await (const _found of lookUps[index]?.find(query, { watch: false, signal }) ?? []);
    }
  });
  return {
    entries: count * entriesPerManager,
    watches: count * (entriesPerManager + servicesPerManager),
    get registered() {
      return seen.registered;
    },
    get names() {
      return seen.names;
    },
    get open() {
      return seen.open;
    },
    get knocks() {
      return seen.knocks;
    },
    forget: () => void Object.assign(seen, { registered: [], names: new Set(), knocks: [] }),
    async stop() {
      stopping.abort(new DOMException("the bench is over", "AbortError"));
      await Promise.all(kept.map(({ closed }) => closed));
      for (const dialer of dialers) dialer.close();
    },
  };
}

function entry(name: string, service: string, index: number): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    network_service_names: [service],
    network_service_labels: { [service]: { labels: { nodeName: `node-${index}` } } },
    url: `tcp://10.${(index >> 8) & 255}.${index & 255}.1:5001`,
  });
}

/** Notes what comes of each call. */
function observed(registry: Entries, seen: Seen): Entries {
  return {
    async register(wanted, call) {
      seen.knocks.push(performance.now());
      const answer = await registry.register(wanted, call);
      seen.registered.push(performance.now());
      seen.names.add(wanted.name);
      return answer;
    },
    unregister: (wanted, call) => registry.unregister(wanted, call),
    find: (query, options) => (options.watch ? watched(registry.find(query, options), seen) : registry.find(query, options)),
  };
}

async function* watched<T>(found: AsyncIterable<Found<T>>, seen: Seen): AsyncIterable<Found<T>> {
  let told = false;
  seen.knocks.push(performance.now());
  try {
    for await (const one of found) {
      if (!told) seen.open++;
      told = true;
      yield one;
    }
  } finally {
    if (told) seen.open--;
  }
}
