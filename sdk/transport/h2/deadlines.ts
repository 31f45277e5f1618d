/**
 * Ends of calls in time. Nearly all calls end before theirs, so many share one timer: those of the same tenth of a second,
 * or, when it is near, of the same hundredth.
 */
export interface Deadline {
  /** Called once, never before the time. */
  readonly fire: () => void;
  readonly slotMs: number;
}

const slots = new Map<number, Set<Deadline>>();
const farMs = 2_000;
const coarseMs = 100;
const fineMs = 10;

/** @param atMs  milliseconds since the epoch */
export function armDeadline(atMs: number, fire: () => void): Deadline {
  const inMs = atMs - Date.now();
  const grainMs = inMs > farMs ? coarseMs : fineMs;
  const slotMs = Math.ceil(atMs / grainMs) * grainMs;
  const deadline = { fire, slotMs };
  const slot = slots.get(slotMs);
  if (slot === undefined) openSlot(slotMs, deadline);
  else slot.add(deadline);
  return deadline;
}

export function disarmDeadline(deadline: Deadline): void {
  slots.get(deadline.slotMs)?.delete(deadline);
}

function openSlot(slotMs: number, first: Deadline): void {
  slots.set(slotMs, new Set([first]));
  wait(slotMs);
}

/** Timers of Node hold at most 2^31 − 1 ms. A call keeps its process by its socket; its deadline need not. */
function wait(slotMs: number): void {
  const leftMs = slotMs - Date.now();
  setTimeout(
    () => {
      if (Date.now() < slotMs) {
        wait(slotMs);
        return;
      }
      const due = slots.get(slotMs);
      slots.delete(slotMs);
      for (const deadline of due ?? []) deadline.fire();
    },
    Math.max(1, Math.min(leftMs, 2 ** 31 - 1)),
  ).unref();
}
