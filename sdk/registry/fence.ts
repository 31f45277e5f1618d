/**
 * Fences incarnations of an endpoint off from one another: two processes under one name, of which the older one was believed dead
 * (frozen, cut off). The time of the first registration tells them apart, because an endpoint sends back what it was granted: the
 * entry of a new incarnation gets a later one, and who comes with an earlier one from another place is of the past.
 */
import type { NetworkServiceEndpoint } from "../gen/registry.js";
import { Code, type StatusError, statusError } from "../status.js";
import { timestampMs, timestampOf } from "../timestamp.js";

/** Whether `entry` is of an incarnation before the one that has the name. */
export function isSuperseded(entry: NetworkServiceEndpoint, current: NetworkServiceEndpoint | undefined): boolean {
  if (current === undefined || current.url === entry.url) return false;
  const [own, newest] = [entry.initial_registration_time, current.initial_registration_time];
  return own !== undefined && newest !== undefined && timestampMs(own) < timestampMs(newest);
}

/** The entry with a later time of birth than the one it takes the name from, when it comes from another place without one. */
export function asNewIncarnation(
  entry: NetworkServiceEndpoint,
  current: NetworkServiceEndpoint | undefined,
  nowMs: number,
): NetworkServiceEndpoint {
  if (current === undefined || current.url === entry.url || entry.initial_registration_time !== undefined) return entry;
  return bornAfter(entry, current, nowMs);
}

/** The entry with a time of birth after that of `current`. */
export function bornAfter(entry: NetworkServiceEndpoint, current: NetworkServiceEndpoint, nowMs: number): NetworkServiceEndpoint {
  const before = current.initial_registration_time;
  const bornMs = Math.max(nowMs, before === undefined ? nowMs : timestampMs(before) + 1);
  return { ...entry, initial_registration_time: timestampOf(bornMs) };
}

/** ALREADY_EXISTS, which tells who keeps an entry to let go of it. */
export function superseded(name: string): StatusError {
  return statusError(
    Code.ALREADY_EXISTS,
    `endpoint ${name}: a newer incarnation is registered under this name; this one must end and hold nothing any more`,
  );
}
