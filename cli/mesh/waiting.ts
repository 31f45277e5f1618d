/** Tells people what a pod waits for, as soon as it is refused, instead of leaving them with a silent terminal. */
import { readFileSync, statSync } from "node:fs";
import { logFileOf } from "./plan.js";

/** Often enough that the reason is read within a second. */
const pollMs = 200;

/**
 * Follows what the process logs from now on and hands on why it is not connected yet, each reason once.
 * @returns ends it
 */
export function tellRefusals(processName: string, tell: (reason: string) => void): () => void {
  const file = logFileOf(processName);
  const start = sizeOf(file);
  let told = "";
  const timer = setInterval(() => {
    const reason = lastRefusal(textFrom(file, start));
    if (reason === undefined || reason === told) return;
    told = reason;
    tell(reason);
  }, pollMs);
  return () => clearInterval(timer);
}

/** The last line by which a client says that a Request was refused (sdk/client/connect.ts). */
export function lastRefusal(log: string): string | undefined {
  for (const line of log.split("\n").reverse()) {
    if (!line.includes('"not connected yet"')) continue;
    try {
      const { error } = JSON.parse(line) as { error?: { code?: string; message?: string } };
      if (error?.message !== undefined) return `${error.code === undefined ? "" : `${error.code}: `}${error.message}`;
    } catch {
      // half a line: it is being written
    }
  }
  return undefined;
}

/** A pod's log goes on from one pod of that name to the next. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function textFrom(file: string, start: number): string {
  try {
    return readFileSync(file).subarray(start).toString("utf8");
  } catch {
    return "";
  }
}
