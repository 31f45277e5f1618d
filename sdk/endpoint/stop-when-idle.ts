/**
 * stop-when-idle — ends an endpoint that nobody uses.
 * Needs:  context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   arms the timer when the endpoint starts and when the last connection closes; a request disarms it
 * Fails:  UNAVAILABLE once the time is up: the endpoint is leaving
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Clock, Disarm } from "../clock.js";
import type { HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import { Code, statusError } from "../status.js";

export interface IdleWatch {
  readonly element: Element<ConnectionApi, HasConnection & HasUndo>;
  /** Disarms the timer. */
  stop(): void;
}

/**
 * @param timeoutMs  0 = never
 * @param open  ids of connections kept from an earlier run
 * @param onIdle  called once
 */
export function stopWhenIdle(options: {
  readonly endpoint: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly open: Iterable<string>;
  readonly onIdle: () => void;
}): IdleWatch {
  const { endpoint, timeoutMs, clock, onIdle } = options;
  const open = new Set(options.open);
  let leaving = false;
  let disarm: Disarm = () => {};

  function arm(): void {
    disarm();
    if (timeoutMs <= 0 || leaving || open.size > 0) return;
    disarm = clock.at(clock.nowMs() + timeoutMs, () => {
      leaving = true;
      onIdle();
    });
  }
  function left(id: string): void {
    open.delete(id);
    arm();
  }
  arm();

  const element: Element<ConnectionApi, HasConnection & HasUndo> = {
    name: "stop-when-idle",
    steps: {
      async request(request, { previous, undoOnFailure }, rest) {
        if (leaving) throw statusError(Code.UNAVAILABLE, `endpoint ${endpoint} was idle and is leaving: choose another endpoint`);
        const id = request.connection?.id ?? "";
        disarm();
        open.add(id);
        if (previous === undefined) undoOnFailure("idle count", () => left(id));
        return rest.request(request);
      },
      async close(connection, _context, rest) {
        try {
          await rest.close(connection);
        } finally {
          left(connection.id);
        }
      },
    },
  };
  return { element, stop: () => disarm() };
}
