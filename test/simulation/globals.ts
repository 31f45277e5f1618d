/**
 * Puts a process of the machine on virtual time: clocks, timers and chance of the whole process are those of the world. Code
 * under simulation is the shipped code, unchanged; what it takes from the machine it gets from here.
 */
import crypto from "node:crypto";
import fs from "node:fs";
import files from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { performance } from "node:perf_hooks";
import timers from "node:timers/promises";
import type { SimEvent, SimProcess, World } from "./world.js";

const machine = { now: Date.now.bind(Date), performanceNow: performance.now.bind(performance) };

/** Milliseconds of the machine's own clock. */
export const machineMs = machine.performanceNow;

let world: World | undefined;

function here(): World {
  if (world === undefined) throw new Error("there is no world yet");
  return world;
}

/** The world this process lives in. */
export const currentWorld = here;

/** From now on this process lives in that world. The first call replaces the globals. */
export function enterWorld(next: World): void {
  const isFirst = world === undefined;
  world = next;
  if (isFirst) replaceGlobals();
}

interface SimTimer {
  event: SimEvent;
  unref(): SimTimer;
  ref(): SimTimer;
  hasRef(): boolean;
  refresh(): SimTimer;
  close(): SimTimer;
  [Symbol.toPrimitive](): number;
}

const framesKept = 14;

/** Who arms a timer; the text is made when somebody reads it. */
function whereNow(): { readonly stack?: string } {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = framesKept;
  const place: { stack?: string } = {};
  Error.captureStackTrace(place);
  Error.stackTraceLimit = stackTraceLimit;
  return place;
}

function replaceGlobals(): void {
  const arm = (action: () => void, delayMs: number): SimEvent => {
    const { nowMs, at, current } = here();
    return at(nowMs() + Math.max(0, Number.isFinite(delayMs) ? delayMs : 0), current, action, whereNow());
  };
  const timerOf = (again: () => SimEvent): SimTimer => {
    const timer: SimTimer = {
      event: again(),
      unref: () => timer,
      ref: () => timer,
      hasRef: () => true,
      refresh() {
        timer.event.cancelled = true;
        timer.event = again();
        return timer;
      },
      close() {
        timer.event.cancelled = true;
        return timer;
      },
      [Symbol.toPrimitive]: () => timer.event.order,
    };
    return timer;
  };
  const setTimeout = (action: (...args: unknown[]) => void, delayMs = 1, ...args: unknown[]): SimTimer =>
    timerOf(() => arm(() => action(...args), Math.max(1, delayMs)));
  const setInterval = (action: (...args: unknown[]) => void, delayMs = 1, ...args: unknown[]): SimTimer => {
    const timer = timerOf(() => arm(fire, Math.max(1, delayMs)));
    function fire(): void {
      timer.refresh();
      action(...args);
    }
    return timer;
  };
  const clear = (timer: SimTimer | undefined): void => void timer?.close?.();
  const setImmediate = (action: (...args: unknown[]) => void, ...args: unknown[]): SimTimer =>
    timerOf(() => arm(() => action(...args), 0));
  Object.assign(globalThis, {
    setTimeout,
    setInterval,
    setImmediate,
    clearTimeout: clear,
    clearInterval: clear,
    clearImmediate: clear,
  });
  Date.now = () => here().nowMs() + (here().current?.clockOffsetMs ?? 0);
  Object.defineProperty(performance, "now", { value: () => here().nowMs() });
  Math.random = () => here().chance.next();
  AbortSignal.timeout = (delayMs) => {
    const controller = new AbortController();
    const { nowMs, at, current } = here();
    // the garbage collector takes the machine's, with nobody's doing: no timer that anybody could leave behind
    at(nowMs() + delayMs, current, () =>
      controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError")),
    );
    return controller.signal;
  };
  rememberSignals();
  replaceImports(arm);
}

const signals = new WeakMap<SimProcess, Set<AbortSignal>>();

/** Those on which this process has listened. Held on to: a signal that nobody else holds does not leak. */
export function signalsOf(process: SimProcess): Iterable<AbortSignal> {
  return signals.get(process) ?? [];
}

function rememberSignals(): void {
  const { addEventListener } = EventTarget.prototype;
  AbortSignal.prototype.addEventListener = function (this: AbortSignal, ...argv: Parameters<typeof addEventListener>): void {
    const { current } = here();
    if (current !== undefined) {
      const known = signals.get(current) ?? new Set();
      signals.set(current, known.add(this));
    }
    addEventListener.apply(this, argv);
  } as AbortSignal["addEventListener"];
}

/** What is imported by name has to be replaced in its module. */
function replaceImports(arm: (action: () => void, delayMs: number) => SimEvent): void {
  const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => here().chance.between(0, 255)));
  const uuid = (): string => {
    const hex = bytes(16).toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
  };
  Object.assign(crypto, { randomUUID: uuid, randomBytes: bytes });
  const sleep = <T>(delayMs = 1, value?: T, options: { signal?: AbortSignal } = {}): Promise<T | undefined> => {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        event.cancelled = true;
        reject(Object.assign(new Error("The operation was aborted", { cause: signal?.reason }), { name: "AbortError" }));
      };
      const event = arm(() => {
        signal?.removeEventListener("abort", abort);
        resolve(value);
      }, delayMs);
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
  };
  Object.assign(timers, { setTimeout: sleep });
  replaceProcessTable();
  syncBuiltinESMExports();
}

/** No process of the machine has a number as large (PID_MAX_LIMIT of linux/threads.h is 2²²). */
export const firstPid = 2 ** 23;

/** Whether a process of the world lives, and since when, is read from /proc as on a machine; there is nothing else of it. */
function replaceProcessTable(): void {
  const { readFileSync } = fs;
  const { stat, readFile } = files;
  const processIn = (path: unknown): number => {
    const pid = typeof path === "string" ? Number(/^\/proc\/(\d+)\//.exec(path)?.[1] ?? 0) : 0;
    return pid >= firstPid ? pid : 0;
  };
  const missing = (path: unknown): Error => Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
  Object.assign(fs, {
    readFileSync(path: unknown, ...more: unknown[]): unknown {
      const pid = processIn(path);
      if (pid === 0) return readFileSync(path as string, ...(more as []));
      const process = here().processes.get(pid);
      if (path !== `/proc/${pid}/stat` || process?.alive !== true) throw missing(path);
      // the second field is the name, the third the state, the 22nd the time of its start
      return `${pid} (${process.name}) S ${"0 ".repeat(18)}${process.bornMs} 0`;
    },
  });
  const absent =
    (shipped: (path: string, ...more: unknown[]) => Promise<unknown>) =>
    async (path: string, ...more: unknown[]): Promise<unknown> => {
      if (processIn(path) > 0) throw missing(path);
      return shipped(path, ...more);
    };
  Object.assign(files, { stat: absent(stat as never), readFile: absent(readFile as never) });
}
