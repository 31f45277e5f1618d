/** What a caller streams to us, as something to loop over: at the pace of the loop. */
import type { ServerCall } from "./h2/server.js";
import { decodeRequest, isMalformed, type Method } from "./methods.js";

/** To be called before the first message comes; the result once, when somebody wants them. */
export function createInputs<I>(method: Method<I, unknown>, call: ServerCall): (signal: AbortSignal) => AsyncIterable<I> {
  const waiting: Buffer[] = [];
  let ended = false;
  let wake = (): void => {};
  call.onMessage = (message) => {
    if (message === undefined) ended = true;
    else waiting.push(message);
    wake();
  };
  return async function* inputs(signal) {
    const cut = (): void => wake();
    signal.addEventListener("abort", cut);
    try {
      for (;;) {
        signal.throwIfAborted();
        const bytes = waiting.shift();
        if (bytes !== undefined) {
          call.used();
          const input = decodeRequest(method, bytes);
          if (isMalformed(input)) throw input.malformed;
          yield input;
        } else if (ended) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener("abort", cut);
    }
  };
}
