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
import { onBeat } from "./beat.js";
import { echoRound } from "./echo-round.js";

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
    return await echoRound(addressPairs(connection), sockets, options);
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

export type LivenessReport = "alive" | "dead" | "cannot-tell";

export interface Probe {
  /** Checks the data path of this connection from now on; what is under way for another one no longer counts. */
  watch(connection: Connection): void;
  /**
   * A fault has been reported: checks at once and more often, and sooner believes that no answer means a dead path: after half of the
   * usual time, or, when somebody has seen it broken, after three signs of life that failed to come; never before three times what an
   * answer took lately: a far endpoint is not dead because it is far. A check that runs is not waited for: a quick one runs beside
   * it, and the first of them that has something to say is believed.
   * @param seen  the path is said to be broken; without it only somebody on the way is away, whose restart keeps a machine busy
   */
  hurry(seen: boolean): void;
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
  /** After how long without an answer the next check may say that the path is dead, in milliseconds; undefined = the usual time. */
  urgentMs: number | undefined;
  wake: () => void;
}

/** Below this a verdict would be about the load of the machine, even if somebody has seen the path broken. */
const minUrgentMs = 120;
/** Share of the usual time when somebody on the way is away: whoever starts meanwhile may need all processors. */
const awayShare = 1 / 2;
const urgentIntervalMs = 40;
/** How much the longest answer of late counts for less after each check. */
const fade = 0.9;

/** Repeats a check; each report is about the connection watched last. */
export function createProbe(options: ProbeOptions): Probe {
  let current: Round | undefined;
  let slowestMs = 0;

  function paceOf(urgentMs: number | undefined): { readonly intervalMs: number; readonly timeoutMs: number } {
    const { intervalMs, timeoutMs } = options;
    if (urgentMs === undefined) return { intervalMs, timeoutMs };
    return {
      intervalMs: Math.min(intervalMs, urgentIntervalMs),
      timeoutMs: Math.min(timeoutMs, Math.max(urgentMs, 3 * slowestMs)),
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
      const startMs = performance.now();
      let report: LivenessReport;
      let problem: unknown;
      try {
        report = (await look(connection, round, sockets)) ? "alive" : "dead";
        round.wake = () => {};
        if (report === "alive") slowestMs = Math.max(performance.now() - startMs, fade * slowestMs);
      } catch (error) {
        report = "cannot-tell";
        problem = error;
      }
      if (signal.aborted) return;
      options.report(report, problem);
      if (report === "cannot-tell") return;
      await pause(options.intervalMs, (wake) => {
        round.wake = wake;
      });
    }
  }

  /** One check, and a quick one beside it when it is told to hurry; settles with the first. */
  function look(connection: Connection, round: Round, sockets: EchoSockets): Promise<boolean> {
    const { netnsUrl } = options;
    const { signal } = round.controller;
    // written out: to spread them costs more than the echoes do
    const check = ({ intervalMs, timeoutMs }: ReturnType<typeof paceOf>): Promise<boolean> =>
      options.check(connection, { netnsUrl, intervalMs, timeoutMs, sockets, signal });
    return new Promise((resolve, reject) => {
      let quickestMs = Number.POSITIVE_INFINITY;
      const start = (): void => {
        const { urgentMs } = round;
        round.urgentMs = undefined;
        quickestMs = urgentMs ?? quickestMs;
        check(paceOf(urgentMs)).then(resolve, reject);
      };
      start();
      round.wake = () => {
        if ((round.urgentMs ?? 0) < quickestMs && !signal.aborted) start();
      };
    });
  }

  function end(): void {
    current?.controller.abort();
    current?.wake();
  }

  return {
    watch(connection) {
      end();
      current = { controller: new AbortController(), urgentMs: undefined, wake: () => {} };
      void run(connection, current);
    },
    hurry(seen) {
      if (current === undefined) return;
      current.urgentMs = seen ? minUrgentMs : Math.max(minUrgentMs, awayShare * options.timeoutMs);
      current.wake();
    },
    stop: end,
  };
}

function pause(ms: number, early: (wake: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const cancel = onBeat(ms, resolve);
    early(() => {
      cancel();
      resolve();
    });
  });
}
