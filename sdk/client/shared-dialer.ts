/** The dialer that connections without one of their own share: made for the first, closed after the last. */
import { createDialer, type Dialer } from "../transport/dial.js";

export interface Borrowed {
  readonly dialer: Dialer;
  /** Call it exactly once. */
  giveBack(): void;
}

/** Time for a node manager to accept a connection (default of NSM's client). */
const dialTimeoutMs = 5_000;

let shared: { readonly dialer: Dialer; users: number } | undefined;

export function borrowDialer(): Borrowed {
  shared ??= { dialer: createDialer({ dialTimeoutMs }), users: 0 };
  const mine = shared;
  mine.users += 1;
  return {
    dialer: mine.dialer,
    giveBack() {
      mine.users -= 1;
      if (mine.users > 0) return;
      mine.dialer.close();
      if (shared === mine) shared = undefined;
    },
  };
}
