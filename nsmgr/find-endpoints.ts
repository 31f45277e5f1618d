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
    const ours: Ours = new Map();
    const show = (found: Found<NetworkServiceEndpoint>): Found<NetworkServiceEndpoint> | undefined => {
      const stored = found.entry;
      if (stored.url !== publicUrl) {
        ours.delete(stored.name);
        return fits(stored, stored) ? found : undefined;
      }
      const url = deps.locals.get(stored.name)?.url;
      if (found.deleted) ours.delete(stored.name);
      else ours.set(stored.name, { found, url });
      if (url === undefined && !found.deleted) return undefined;
      const entry = url === undefined ? stored : { ...stored, url };
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
      yield* watchBoth(deps.locals, events, ours, show);
    } finally {
      gone.abort();
    }
  };
}

/** What upstream has under our URL, and the URL under which it was shown; undefined = held back. */
type Ours = Map<string, { readonly found: Found<NetworkServiceEndpoint>; readonly url: string | undefined }>;

/** Upstream's events, and those that only we can tell: an endpoint of ours is reached under another URL than before. */
async function* watchBoth(
  locals: LocalEndpoints,
  upstream: AsyncIterable<Found<NetworkServiceEndpoint>>,
  ours: Ours,
  show: (found: Found<NetworkServiceEndpoint>) => Found<NetworkServiceEndpoint> | undefined,
): AsyncGenerator<Found<NetworkServiceEndpoint>> {
  const arrived: Found<NetworkServiceEndpoint>[] = [];
  let wake = (): void => {};
  const stopListening = locals.onChange((name, endpoint) => {
    const told = ours.get(name);
    if (endpoint === undefined || told === undefined || told.url === endpoint.url) return;
    arrived.push(told.found);
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
