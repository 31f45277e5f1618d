/**
 * Whether packets pass: the check a client can be given, the default one, and the loop that repeats it.
 * Default: ICMP echo from every source to every destination address of the same family, sent from the connection's own
 * namespace (behaviour of NSM's kernel liveness check).
 */
import { setMaxListeners } from "node:events";
import { MechanismType } from "../api.js";
import type { Connection } from "../gen/connection.js";
import { createEchoSockets, type EchoSockets } from "../linux/echo-sockets.js";
import { addressPairs } from "./address-pairs.js";

/** What a liveness check may need. */
export interface LivenessOptions {
  /** Namespace from which to look; undefined = that of this process. */
  readonly netnsUrl: string | undefined;
  /** Pause between two signs of life that are asked for. */
  readonly intervalMs: number;
  /** After so long without an answer the path is dead; shorter than usual when a fault has been reported. */
  readonly timeoutMs: number;
  /** Look by this interface alone: another one has the same addresses for a while. */
  readonly interfaceName?: string | undefined;
  /** Stay open from check to check; absent: the default check opens some for itself. */
  readonly sockets?: EchoSockets | undefined;
  readonly signal: AbortSignal;
}

/**
 * True: packets pass. False: none came back in time. Throws when it cannot tell (no permission, no such tool); the
 * connection is then kept by the reports of the control plane alone.
 */
export type LivenessCheck = (connection: Connection, options: LivenessOptions) => Promise<boolean>;

/** True when every pair of addresses has answered at least one echo; one lost packet does not make a path dead. */
export const echoLiveness: LivenessCheck = async (connection, options) => {
  const sockets = options.sockets ?? createEchoSockets();
  try {
    const pairs = addressPairs(connection);
    const answers = await Promise.all(pairs.map((pair) => pairAnswers(pair.source, pair.destination, options, sockets)));
    return answers.every((answered) => answered);
  } finally {
    if (options.sockets === undefined) sockets.close();
  }
};

/** Whether the default check can say anything about a connection. */
export function echoApplies(connection: Connection): boolean {
  return connection.mechanism?.type === MechanismType.KERNEL && addressPairs(connection).length > 0;
}

/** How to see whether a connection is alive: as the author says, by echo where it applies, or not at all. */
export function checkFor(connection: Connection, liveness: LivenessCheck | false | undefined): LivenessCheck | undefined {
  if (liveness === false) return undefined;
  return liveness ?? (echoApplies(connection) ? echoLiveness : undefined);
}

/** Sends an echo each interval until one is answered or the time is over. */
function pairAnswers(source: string, destination: string, options: LivenessOptions, sockets: EchoSockets): Promise<boolean> {
  const { intervalMs, timeoutMs, netnsUrl, interfaceName, signal } = options;
  const place = { netnsUrl, source, destination, interfaceName };
  const forget: (() => void)[] = [];
  return new Promise<boolean>((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const end = (settle: () => void): void => {
      clearInterval(repeat);
      clearTimeout(late);
      signal.removeEventListener("abort", abort);
      for (const one of forget) one();
      settle();
    };
    const abort = (): void => end(() => reject(signal.reason));
    const send = (): void => {
      try {
        forget.push(sockets.send(place, () => end(() => resolve(true))));
      } catch (error) {
        end(() => reject(error));
      }
    };
    const over = (): void => {
      // The last word is that of the echoes: after a lag of this process their answers may be there, unread.
      sockets.read();
      end(() => resolve(false));
    };
    const repeat = setInterval(send, intervalMs);
    const late = setTimeout(over, timeoutMs);
    signal.addEventListener("abort", abort, { once: true });
    send();
  });
}

export type LivenessReport = "alive" | "dead" | "cannot-tell";

export interface Probe {
  /** Checks the data path of this connection from now on; what is under way for another one no longer counts. */
  watch(connection: Connection): void;
  /**
   * A fault has been reported: checks at once and more often, and believes it after three signs of life that failed to come, or
   * three times what an answer took lately: a far endpoint is not dead because it is far.
   */
  hurry(): void;
  stop(): void;
}

export interface ProbeOptions {
  readonly check: LivenessCheck;
  readonly netnsUrl: string | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Called after every check. */
  readonly report: (report: LivenessReport, error?: unknown) => void;
}

interface Round {
  readonly controller: AbortController;
  urgent: boolean;
  wake: () => void;
}

/** Below this a verdict would be about the load of the machine. */
const minUrgentMs = 120;
const urgentIntervalMs = 40;
/** How much the longest answer of late counts for less after each check. */
const fade = 0.9;

/** Repeats a check; each report is about the connection watched last. */
export function createProbe(options: ProbeOptions): Probe {
  let current: Round | undefined;
  let slowestMs = 0;

  function paceOf(urgent: boolean): { readonly intervalMs: number; readonly timeoutMs: number } {
    const { intervalMs, timeoutMs } = options;
    if (!urgent) return { intervalMs, timeoutMs };
    return {
      intervalMs: Math.min(intervalMs, urgentIntervalMs),
      timeoutMs: Math.min(timeoutMs, Math.max(minUrgentMs, 3 * slowestMs)),
    };
  }

  async function run(connection: Connection, round: Round): Promise<void> {
    const sockets = createEchoSockets();
    try {
      await repeat(connection, round, sockets);
    } finally {
      sockets.close();
    }
  }

  async function repeat(connection: Connection, round: Round, sockets: EchoSockets): Promise<void> {
    const { signal } = round.controller;
    setMaxListeners(0, signal);
    while (!signal.aborted) {
      const pace = paceOf(round.urgent);
      round.urgent = false;
      const startMs = performance.now();
      let report: LivenessReport;
      let problem: unknown;
      try {
        report = (await options.check(connection, { ...options, ...pace, sockets, signal })) ? "alive" : "dead";
        if (report === "alive") slowestMs = Math.max(performance.now() - startMs, fade * slowestMs);
      } catch (error) {
        report = "cannot-tell";
        problem = error;
      }
      if (signal.aborted) return;
      options.report(report, problem);
      if (report === "cannot-tell") return;
      await pause(options.intervalMs, signal, (wake) => {
        round.wake = wake;
      });
    }
  }

  return {
    watch(connection) {
      current?.controller.abort();
      current = { controller: new AbortController(), urgent: false, wake: () => {} };
      void run(connection, current);
    },
    hurry() {
      if (current === undefined) return;
      current.urgent = true;
      current.wake();
    },
    stop: () => current?.controller.abort(),
  };
}

function pause(ms: number, signal: AbortSignal, early: (wake: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    early(end);
    if (signal.aborted) end();
  });
}
