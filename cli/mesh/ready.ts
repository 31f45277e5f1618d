/** Waiting until a process of the mesh answers, with the end of its log in the error when it does not. */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { logFileOf } from "./plan.js";
import type { MeshProcess } from "./processes.js";

const pollMs = 25;

/**
 * Resolves when the condition gives a value.
 * @throws UNAVAILABLE when the process ends or the time is up, with the end of its log
 */
export async function waitFor<T>(
  what: string,
  process: MeshProcess | undefined,
  condition: (signal: AbortSignal) => Promise<T | undefined>,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  const limits = Number.isFinite(options.timeoutMs) ? [AbortSignal.timeout(options.timeoutMs)] : [];
  const attempt = AbortSignal.any([options.signal, ...limits]);
  let lastRefusal = "";
  while (performance.now() < deadline) {
    options.signal.throwIfAborted();
    try {
      const found = await condition(attempt);
      if (found !== undefined) return found;
      lastRefusal = "";
    } catch (error) {
      lastRefusal = toStatusError(error).details;
    }
    if (process !== undefined && process.restarts > 2) break;
    await pause(pollMs);
  }
  const why = process !== undefined && process.restarts > 0 ? `it ended ${process.restarts} times` : lastRefusal;
  const log = process === undefined ? "" : lastLogLines(process.spec.name);
  throw statusError(
    Code.UNAVAILABLE,
    `${what} is not there after ${Math.round(options.timeoutMs / 1000)} s${why === "" ? "" : ` (${why})`}${log}`,
  );
}

/** Resolves when the process says of itself that it serves (grpc.health.v1). */
export async function waitUntilServing(
  dialer: Dialer,
  process: MeshProcess,
  url: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  await waitFor(
    process.spec.name,
    process,
    async (signal) => ((await dialer.health(url, "", signal)) === ServingStatus.SERVING ? true : undefined),
    options,
  );
}

/** What a process's log says at its end, for people: the last lines that differ, or nothing. */
export function lastLogLines(processName: string, count = 6): string {
  try {
    const lines = readFileSync(logFileOf(processName), "utf8").trimEnd().split("\n").map(readableLine);
    const distinct = lines.filter((line, index) => line !== "" && lines.lastIndexOf(line) === index).slice(-count);
    return distinct.length === 0
      ? ""
      : `\n  end of ${logFileOf(processName)}:\n${distinct.map((line) => `    ${line}`).join("\n")}`;
  } catch {
    return "";
  }
}

/** One JSON line of a log as "warn not connected yet: NOT_FOUND …"; anything else (a crash) as it is. */
function readableLine(line: string): string {
  try {
    const { level, message, error } = JSON.parse(line) as {
      level?: string;
      message?: string;
      error?: { code?: string; message?: string };
    };
    const why = error?.message === undefined ? "" : `: ${error.code ?? ""} ${error.message}`;
    return `${level ?? ""} ${message ?? ""}${why}`;
  } catch {
    return line;
  }
}
