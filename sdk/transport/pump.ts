/** Back-pressure of server streams. */
import type { ServerCall } from "./h2/server.js";

/** Resolves when more may be written, or nobody wants more. */
export function drained(call: ServerCall, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.onDrained = undefined;
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.onDrained = done;
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
