/**
 * probe-registry — knows whether the registry answers, for health and for texts.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Code, toStatusError } from "../sdk/status.js";

export interface RegistryState {
  readonly up: boolean;
  /** Why not; empty while it is up. */
  readonly reason: string;
}

export interface ProbeOptions {
  /** One question to the registry; any answer of it, also an error, proves that it is there. */
  readonly ask: (signal: AbortSignal) => Promise<unknown>;
  /** Called with the first state and with each change. */
  readonly onChange: (state: RegistryState) => void;
  readonly signal: AbortSignal;
}

const pauseUpMs = 2_000;
const pauseDownMs = 500;
const timeoutMs = 2_000;

/** Asks until the signal aborts; never rejects. */
export async function probeRegistry({ ask, onChange, signal }: ProbeOptions): Promise<void> {
  let told: RegistryState | undefined;
  while (!signal.aborted) {
    const state = await probe(ask, signal);
    if (signal.aborted) return;
    if (told?.up !== state.up) onChange(state);
    told = state;
    await sleep(state.up ? pauseUpMs : pauseDownMs, undefined, { signal }).catch(() => undefined);
  }
}

async function probe(ask: ProbeOptions["ask"], signal: AbortSignal): Promise<RegistryState> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new DOMException(`no answer within ${timeoutMs} ms`, "TimeoutError")), timeoutMs);
  try {
    await ask(AbortSignal.any([signal, limit.signal]));
    return { up: true, reason: "" };
  } catch (error) {
    const { code, details } = toStatusError(error);
    const away = code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
    return away ? { up: false, reason: details } : { up: true, reason: "" };
  } finally {
    clearTimeout(timer);
  }
}
