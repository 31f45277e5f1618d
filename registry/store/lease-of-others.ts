/**
 * Leases in a store that several replicas share. An entry that somebody else wrote has a whole lease from the moment it is
 * seen: so clocks that differ between replicas end no lease early, nor does an outage of the store or of this registry,
 * during which nobody could refresh.
 */
import type { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { timestampMs, timestampOf } from "../../sdk/timestamp.js";
import type { Entry } from "../kind.js";

/** The entry with a lease that ends at `endMs` at the earliest; one without lease has none. */
export function withWholeLease<T extends Entry>(entry: T, endMs: number): T {
  const { expiration_time: end } = entry as Partial<NetworkServiceEndpoint>;
  if (end === undefined || timestampMs(end) >= endMs) return entry;
  return { ...entry, expiration_time: timestampOf(endMs) };
}

export function isOver(entry: Entry, nowMs: number): boolean {
  const { expiration_time: end } = entry as Partial<NetworkServiceEndpoint>;
  return end !== undefined && timestampMs(end) <= nowMs;
}
