/** One call on its way through the simulated network, and a stream as its reader sees it. */
import type { CallContext } from "../../sdk/chain.js";
import { statusError, toStatusError } from "../../sdk/status.js";
import type { LiveCall, Server } from "./server.js";

export interface Heard<O> {
  end(error: Error | undefined): void;
  message?(message: O): void;
}
export interface Under {
  send(work: (server: Server, live: LiveCall, context: CallContext, back: (action: () => void) => void) => void): void;
  /** From the other end: this was the last. */
  finish(error: Error | undefined): void;
  leave(): void;
  isOver(): boolean;
  aborted(): void;
}

/** As over the wire: code and text, nothing else. */
export function copyOf(error: Error | undefined): Error | undefined {
  if (error === undefined) return undefined;
  const { code, details } = toStatusError(error);
  return statusError(code, details);
}

export async function* readStream<O>(begin: (heard: Heard<O>) => Under): AsyncIterable<O> {
  const queue: O[] = [];
  let over: { readonly error: Error | undefined } | undefined;
  let wake = (): void => {};
  const call = begin({
    message(message) {
      if (over !== undefined) return;
      queue.push(message);
      wake();
    },
    end(error) {
      over = { error };
      wake();
    },
  });
  try {
    for (;;) {
      const message = queue.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (over !== undefined) {
        if (over.error !== undefined) throw over.error;
        return;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    if (!call.isOver()) call.leave();
  }
}
