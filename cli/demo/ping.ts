/** Echoes from inside a pod, counted and timed. */
import { setTimeout as pause } from "node:timers/promises";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly maxMs: number;
}

/** Sends `count` echoes one after the other. */
export async function ping(options: {
  readonly netnsName: string;
  readonly source: string;
  readonly destination: string;
  readonly count: number;
  readonly signal: AbortSignal;
}): Promise<PingResult> {
  const times: number[] = [];
  for (let sent = 0; sent < options.count; sent++) {
    const answer = await icmpEcho({
      netnsUrl: options.netnsName,
      source: options.source,
      destination: options.destination,
      timeoutMs: 1000,
      signal: options.signal,
    });
    if (answer !== undefined) times.push(answer.rttMs);
  }
  times.sort((a, b) => a - b);
  return {
    sent: options.count,
    received: times.length,
    minMs: times[0] ?? 0,
    medianMs: times[times.length >> 1] ?? 0,
    maxMs: times.at(-1) ?? 0,
  };
}

export function describePing({ sent, received, minMs, medianMs, maxMs }: PingResult): string {
  if (received === 0) return `0 of ${sent} answered`;
  return `${received} of ${sent} answered, RTT ${minMs.toFixed(3)} / ${medianMs.toFixed(3)} / ${maxMs.toFixed(3)} ms (min / median / max)`;
}

/** Echoes without end until one is answered; the milliseconds that took, undefined when the time is up. */
export async function pingUntilAnswered(options: {
  readonly netnsName: string;
  readonly destination: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<number | undefined> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < options.timeoutMs) {
    options.signal.throwIfAborted();
    const echo = {
      netnsUrl: options.netnsName,
      source: "",
      destination: options.destination,
      timeoutMs: 100,
      signal: options.signal,
    };
    if ((await icmpEcho(echo)) !== undefined) return performance.now() - startedAt;
    await pause(10);
  }
  return undefined;
}
