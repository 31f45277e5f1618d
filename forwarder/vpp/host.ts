/**
 * The one VPP of a data plane: a child that is started when first needed and found again after a restart of the forwarder, or
 * one that somebody else runs. Watches that it lives: a dead one closes its socket; a hanging one keeps it open and does not
 * answer a ping. Ours is then ended and started anew; another's is waited for.
 */
import { existsSync } from "node:fs";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { connectVpp, defaultTimeoutMs, type VppApi } from "./client.js";
import type { Definitions } from "./codec.js";
import { ended, endVpp, lastWords, pause, processState, signal, startVpp } from "./process.js";
import { defaultSizes, type VppPlaces, type VppSizes } from "./start-conf.js";

export interface VppTimes {
  /** A start of VPP. */
  readonly startMs: number;
  /** One call. */
  readonly callMs: number;
  /** How often it is asked whether it lives, when it says nothing by itself. */
  readonly pingMs: number;
  /** After so long a silence it counts as hanging; ours is then ended. */
  readonly hangMs: number;
}

export const defaultTimes: VppTimes = { startMs: 15_000, callMs: defaultTimeoutMs, pingMs: 1_000, hangMs: 8_000 };

export interface HostOptions {
  /** Undefined: another's VPP, which we neither start nor end. */
  readonly command: readonly string[] | undefined;
  readonly places: VppPlaces;
  readonly home: Pick<NetnsHandle, "fd" | "ino">;
  readonly log: Log;
  readonly env?: Readonly<Record<string, string>>;
  readonly definitions?: Definitions | undefined;
  readonly sizes?: VppSizes;
  readonly times?: VppTimes;
  /** It is gone; everything is to be made again in the next one. */
  readonly lost: () => void;
}

export interface VppHost {
  /** The VPP that lives now; starts one when there is none. @throws FAILED_PRECONDITION, UNAVAILABLE */
  get(): Promise<VppApi>;
  current(): VppApi | undefined;
  /** How often it was lost. */
  losses(): number;
  close(end: boolean): Promise<void>;
}

/** Without these nothing can be joined. */
const required = ["sw_interface_dump", "sw_interface_set_flags", "sw_interface_tag_add_del", "sw_interface_set_l2_xconnect"];

/** Pauses between starts of a VPP that keeps dying. */
const leastBackoffMs = 50;
const mostBackoffMs = 5_000;
/** One that lived so long is not the one that keeps dying. */
const healthyMs = 10_000;

export function createVppHost(options: HostOptions): VppHost {
  const { command, places, log, times = defaultTimes, definitions } = options;
  const isOurs = command !== undefined;
  let opening: Promise<VppApi> | undefined;
  let api: VppApi | undefined;
  let watching: NodeJS.Timeout | undefined;
  let closed = false;
  let losses = 0;
  let backoffMs = 0;
  let lastPid = 0;

  async function dial(): Promise<VppApi> {
    if (existsSync(places.apiSocket) || !isOurs) {
      try {
        return await connectVpp({ socketPath: places.apiSocket, definitions, timeoutMs: times.callMs });
      } catch (error) {
        if (!isOurs) throw error;
        log.warn("a VPP of an earlier run does not answer; another is started", { error });
      }
    }
    // The next one needs the sockets and interfaces that the last one held.
    if (lastPid > 0) await ended(lastPid, times.startMs);
    const { sizes = defaultSizes, home, env = {} } = options;
    const start = { places, sizes, home, env, definitions, startTimeoutMs: times.startMs, callTimeoutMs: times.callMs };
    return await startVpp({ ...start, command: command ?? [] });
  }

  async function open(): Promise<VppApi> {
    if (backoffMs > 0) await pause(backoffMs);
    if (closed) throw statusError(Code.UNAVAILABLE, "the data plane is closed");
    const startedMs = performance.now();
    const opened = await dial();
    const missing = required.filter((name) => !opened.offers(name));
    if (missing.length > 0) {
      await opened.close();
      const text = `VPP ${opened.version} at ${places.apiSocket} lacks ${missing.join(", ")}; use a version from 22.06 to 26.x`;
      throw statusError(Code.FAILED_PRECONDITION, text);
    }
    opened.onLost((reason) => lose(opened, startedMs, reason));
    api = opened;
    lastPid = opened.pid;
    watching = setInterval(() => watch(opened), times.pingMs).unref();
    log.info(`VPP ${opened.version} is ready`, { pid: opened.pid, messages: opened.messages });
    return opened;
  }

  function lose(which: VppApi, startedMs: number, reason: string): void {
    if (api !== which) return;
    clearInterval(watching);
    api = undefined;
    opening = undefined;
    losses++;
    const livedMs = performance.now() - startedMs;
    backoffMs = livedMs > healthyMs ? 0 : Math.min(mostBackoffMs, Math.max(leastBackoffMs, 2 * backoffMs));
    if (closed) return;
    const state = processState(which.pid);
    const fate = state === undefined ? `its process ${which.pid} has ended` : `its process ${which.pid} is still there: ${state}`;
    const words = isOurs ? `; it said: ${lastWords(places)}` : "";
    log.error(`VPP is lost (${reason}; ${fate})${words}; ${isOurs ? "another is started" : "waiting for it to come back"}`);
    // A process that keeps running without us would hold what the next one needs.
    if (isOurs && state !== undefined) signal(which.pid, "SIGKILL");
    options.lost();
  }

  /** Any answer is a sign of life; without one it is asked. */
  function watch(which: VppApi): void {
    const silentMs = performance.now() - which.heardAtMs();
    if (silentMs < times.pingMs) return;
    if (silentMs > times.hangMs) {
      const state = processState(which.pid) ?? "no such process";
      log.error(`VPP hangs: no answer for ${Math.round(silentMs)} ms, its process ${which.pid} is in state ${state}`);
      if (isOurs) signal(which.pid, "SIGKILL");
      else which.end("it hangs");
      return;
    }
    which.call("control_ping").catch(() => {});
  }

  return {
    current: () => api,
    losses: () => losses,
    get() {
      opening ??= open().catch((error: unknown) => {
        opening = undefined;
        backoffMs = Math.min(mostBackoffMs, Math.max(leastBackoffMs, 2 * backoffMs));
        throw error;
      });
      return opening;
    },
    async close(end) {
      closed = true;
      clearInterval(watching);
      const opened = await opening?.catch(() => undefined);
      await opened?.close();
      if (end && isOurs && opened !== undefined) await endVpp(opened.pid, places);
    },
  };
}
