/** In the place of sdk/client/beat.ts, which wakes what belongs to one process together: here all processes are one of the machine's. */
export function onBeat(delayMs: number, action: () => void): () => void {
  const timer = setTimeout(action, delayMs);
  return () => clearTimeout(timer);
}
