/** A steady stream of echo requests through one connection, and what became of each. */
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";

export interface Traffic {
  /** Ends it and tells how it went. */
  stop(): Promise<TrafficReport>;
  /** Time of the last answer, on the clock of performance.now(). */
  lastAnswerMs(): number;
}

export interface TrafficReport {
  readonly sent: number;
  readonly lost: number;
  /** Longest time without an answer. */
  readonly longestGapMs: number;
}

export interface TrafficOptions {
  readonly netnsUrl: string;
  /** Read before each echo: addresses may change when the connection heals. */
  readonly addresses: () => { readonly source: string; readonly destination: string };
  readonly intervalMs: number;
}

/** An answer that takes longer counts as lost. */
const answerTimeoutMs = 3_000;

/** Twenty echoes a second between the first addresses that the connection has at the time. */
export function trafficOf(connection: ClientConnection & { readonly netns: string }): Traffic {
  const addresses = () => {
    const [pair] = addressPairs(connection.connection);
    return pair ?? { source: "", destination: "127.0.0.1" };
  };
  return startTraffic({ netnsUrl: `file:///run/netns/${connection.netns}`, addresses, intervalMs: 50 });
}

export function startTraffic({ netnsUrl, addresses, intervalMs }: TrafficOptions): Traffic {
  const stop = new AbortController();
  const under: Promise<void>[] = [];
  let sent = 0;
  let lost = 0;
  let last = performance.now();
  let longestGapMs = 0;
  const echo = async (): Promise<void> => {
    sent += 1;
    const answer = await icmpEcho({ netnsUrl, ...addresses(), timeoutMs: answerTimeoutMs, signal: new AbortController().signal });
    if (answer === undefined) {
      lost += 1;
      return;
    }
    const nowMs = performance.now();
    longestGapMs = Math.max(longestGapMs, nowMs - last);
    last = nowMs;
  };
  const timer = setInterval(() => under.push(echo()), intervalMs);
  // A test that fails before it stops this one ends all the same.
  timer.unref();
  stop.signal.addEventListener("abort", () => clearInterval(timer));
  return {
    lastAnswerMs: () => last,
    async stop() {
      stop.abort();
      await Promise.all(under);
      return { sent, lost, longestGapMs: Math.round(Math.max(longestGapMs, performance.now() - last - answerTimeoutMs)) };
    },
  };
}
