/** What a client tells about its connection, to any number of listeners; a slow one loses the oldest news, not memory. */
import type { Connection } from "../gen/connection.js";
import type { Ask } from "./heal-events.js";

/** What becomes of a connection. */
export type Change =
  /** Something is wrong; packets may or may not flow. Healing has begun. */
  | { readonly kind: "trouble"; readonly reason: string; readonly connection: Connection }
  /** `same`: the endpoint was kept; `reselect`: it may be another one; `itself`: nothing had to be done. */
  | { readonly kind: "healed"; readonly how: Ask | "itself"; readonly tookMs: number; readonly connection: Connection }
  /** Addresses, routes or other parts of the context differ from what they were. */
  | { readonly kind: "updated"; readonly connection: Connection }
  /** Not healed in the time allowed; the connection is closed. The last change. */
  | { readonly kind: "gave-up"; readonly reason: string; readonly connection: Connection }
  /** Closed by this side. The last change. */
  | { readonly kind: "closed"; readonly connection: Connection };

/** News a listener may be behind. */
const maxBehind = 256;

export interface Changes extends AsyncIterable<Change> {
  tell(change: Change): void;
  end(): void;
}

export function createChanges(): Changes {
  const listeners = new Set<Listener>();
  let ended = false;
  return {
    tell(change) {
      for (const listener of listeners) listener.put(change);
    },
    end() {
      ended = true;
      for (const listener of listeners) listener.finish();
      listeners.clear();
    },
    [Symbol.asyncIterator]() {
      const listener = createListener(() => listeners.delete(listener));
      if (ended) listener.finish();
      else listeners.add(listener);
      return listener.iterator;
    },
  };
}

interface Listener {
  put(change: Change): void;
  finish(): void;
  readonly iterator: AsyncIterator<Change>;
}

function createListener(gone: () => void): Listener {
  const queue: Change[] = [];
  let finished = false;
  let wake: (() => void) | undefined;
  const rouse = (): void => {
    wake?.();
    wake = undefined;
  };
  const finish = (): void => {
    finished = true;
    rouse();
  };
  return {
    put(change) {
      if (queue.length >= maxBehind) queue.shift();
      queue.push(change);
      rouse();
    },
    finish,
    iterator: {
      async next() {
        while (queue.length === 0 && !finished) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        const value = queue.shift();
        return value === undefined ? { done: true, value: undefined } : { done: false, value };
      },
      async return() {
        gone();
        queue.length = 0;
        finish();
        return { done: true, value: undefined };
      },
    },
  };
}
