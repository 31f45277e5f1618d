import { Code, statusError } from "../status.js";

const maxWaiting = 64;

/**
 * Waits for the turn of this call for a connection; a caller that leaves gives its place up.
 * @throws RESOURCE_EXHAUSTED when too many wait; the reason of the signal
 */
export function standInLine(
  { id, queue }: { readonly id: string; readonly queue: (() => void)[] },
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal?.aborted) return Promise.reject(signal.reason);
  if (queue.length >= maxWaiting) {
    const text = `${maxWaiting} calls already wait for connection ${id}; wait for their answers`;
    return Promise.reject(statusError(Code.RESOURCE_EXHAUSTED, text));
  }
  return new Promise((resolve, reject) => {
    const start = (): void => {
      signal?.removeEventListener("abort", leave);
      resolve();
    };
    const leave = (): void => {
      queue.splice(queue.indexOf(start), 1);
      reject(signal?.reason);
    };
    queue.push(start);
    signal?.addEventListener("abort", leave, { once: true });
  });
}
