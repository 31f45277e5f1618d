/** The dialer that connections without one of their own share: made for the first, closed after the last. */
import type { Identity } from "../identity/identity.js";
import type { Log } from "../telemetry/log.js";
import { createDialer, type Dialer } from "../transport/dial.js";

export interface Borrowed {
  readonly dialer: Dialer;
  /** Call it exactly once. */
  giveBack(): void;
}

/** Time for a node manager to accept a connection (default of NSM's client). */
const dialTimeoutMs = 5_000;

const shared = new Map<Identity | undefined, { readonly dialer: Dialer; users: number }>();

/** @param identity  each has a dialer of its own; undefined = plain text */
export function borrowDialer(identity?: Identity, log?: Log): Borrowed {
  const mine = shared.get(identity) ?? { dialer: createDialer({ dialTimeoutMs, identity, log }), users: 0 };
  shared.set(identity, mine);
  mine.users += 1;
  return {
    dialer: mine.dialer,
    giveBack() {
      mine.users -= 1;
      if (mine.users > 0) return;
      mine.dialer.close();
      if (shared.get(identity) === mine) shared.delete(identity);
    },
  };
}
