/** The answers of a streaming call in order, kept until somebody asks for the next. The window of the stream bounds them. */
import type { CallEvents, CallStatus } from "./h2/client.js";

export interface Answers {
  readonly events: CallEvents;
  /** The next message, or how the stream ended. */
  next(): Promise<Buffer | CallStatus>;
  /** How it ended; undefined = it goes on. */
  ended(): CallStatus | undefined;
}

export function createAnswers(): Answers {
  const waiting: Buffer[] = [];
  let status: CallStatus | undefined;
  let wake = (): void => {};
  return {
    events: {
      message(bytes) {
        waiting.push(bytes);
        wake();
      },
      end(how) {
        status = how;
        wake();
      },
    },
    async next() {
      for (;;) {
        const first = waiting.shift() ?? status;
        if (first !== undefined) return first;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    ended: () => status,
  };
}
