/**
 * find-endpoints — endpoints as this node reaches them.
 * Does:   an endpoint of this node is shown under its real URL, one of another node as the registry has it; one that
 *         the registry has under our public URL and that we do not know (we were restarted) is held back until it
 *         registers again, but its deletion is shown
 * Fails:  as upstream
 */
import type { Found } from "../sdk/api.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export type FindEndpoints = (
  query: NetworkServiceEndpoint,
  options: { watch: boolean; signal: AbortSignal },
) => AsyncIterable<Found<NetworkServiceEndpoint>>;

export interface FindDeps {
  readonly upstream: FindEndpoints;
  readonly locals: LocalEndpoints;
  readonly publicUrl: () => string;
}

export function findEndpoints(deps: FindDeps): FindEndpoints {
  return async function* find(query, { watch, signal }) {
    const publicUrl = deps.publicUrl();
    // a URL asked for may be the one that only we know: upstream is asked without it and the answer is sifted here
    const wanted = query.url;
    const asked = wanted === "" ? query : { ...query, url: "" };
    const fits = (shown: NetworkServiceEndpoint, stored: NetworkServiceEndpoint): boolean =>
      wanted === "" || shown.url.includes(wanted) || stored.url.includes(wanted);
    const held = new Map<string, Found<NetworkServiceEndpoint>>();
    const show = (found: Found<NetworkServiceEndpoint>): Found<NetworkServiceEndpoint> | undefined => {
      const stored = found.entry;
      held.delete(stored.name);
      if (stored.url !== publicUrl) return fits(stored, stored) ? found : undefined;
      const local = deps.locals.get(stored.name);
      if (local === undefined && !found.deleted) {
        if (watch) held.set(stored.name, found);
        return undefined;
      }
      const entry = local === undefined ? stored : { ...stored, url: local.url };
      return fits(entry, stored) ? { entry, deleted: found.deleted } : undefined;
    };
    if (!watch) {
      for await (const found of deps.upstream(asked, { watch, signal })) {
        const shown = show(found);
        if (shown !== undefined) yield shown;
      }
      return;
    }
    // a watcher that goes away without aborting ends the stream to upstream too
    const gone = new AbortController();
    const events = deps.upstream(asked, { watch, signal: AbortSignal.any([signal, gone.signal]) });
    try {
      yield* watchBoth(deps.locals, events, held, show);
    } finally {
      gone.abort();
    }
  };
}

/** Upstream's events, and those it need not repeat: entries held back that have registered here meanwhile. */
async function* watchBoth(
  locals: LocalEndpoints,
  upstream: AsyncIterable<Found<NetworkServiceEndpoint>>,
  held: Map<string, Found<NetworkServiceEndpoint>>,
  show: (found: Found<NetworkServiceEndpoint>) => Found<NetworkServiceEndpoint> | undefined,
): AsyncGenerator<Found<NetworkServiceEndpoint>> {
  const arrived: Found<NetworkServiceEndpoint>[] = [];
  let wake = (): void => {};
  const stopListening = locals.onChange((name, endpoint) => {
    const waiting = held.get(name);
    if (endpoint === undefined || waiting === undefined) return;
    held.delete(name);
    arrived.push(waiting);
    wake();
  });
  const iterator = upstream[Symbol.asyncIterator]();
  try {
    let next: Promise<IteratorResult<Found<NetworkServiceEndpoint>>> | undefined;
    for (;;) {
      for (const found of arrived.splice(0)) {
        const shown = show(found);
        if (shown !== undefined) yield shown;
      }
      next ??= iterator.next();
      const woken = new Promise<"woken">((resolve) => {
        wake = () => resolve("woken");
      });
      if (arrived.length > 0) continue;
      const result = await Promise.race([next, woken]);
      if (result === "woken") continue;
      next = undefined;
      if (result.done === true) return;
      const shown = show(result.value);
      if (shown !== undefined) yield shown;
    }
  } finally {
    stopListening();
  }
}
