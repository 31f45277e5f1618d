/**
 * mark-stale — answers of Find that come from memory while the store behind it is away carry a header that says so.
 */
import type { Find } from "../sdk/transport/services.js";
import type { Stores } from "./store/store.js";

/** Since when the answer may be older than what is there, RFC 3339. */
export const staleHeader = "weft-stale-since";

export function markStale<T>(find: Find<T>, stores: Pick<Stores, "staleness">): Find<T> {
  return (query, options) => {
    const stale = stores.staleness?.();
    if (stale !== undefined) options.context.reply(staleHeader, new Date(stale.sinceMs).toISOString());
    return find(query, options);
  };
}
