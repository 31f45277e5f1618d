/** Starts the prober beside the mesh and keeps what it reports. */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { logFileOf, runFolder } from "../mesh/plan.js";
import { lineReader } from "./line-reader.js";
import type { ProbePlan, ProbeReport, StreamReport } from "./prober.js";
import { ringsReport } from "./rings-settings.js";
import type { Lost } from "./tally.js";

export interface Prober {
  /** The newest report of each stream, by name. */
  streams(): ReadonlyMap<string, StreamReport>;
  /** When the newest report was made. */
  reportedAtMs(): number;
  /** Packets of each stream that were sent in this time and lost. */
  lost(fromMs: number, toMs: number): ReadonlyMap<string, readonly Lost[]>;
  /** The longest pause of the prober itself. */
  longestLateMs(): number;
  stop(): Promise<void>;
}

/** @param ringPods  clients that send through rings themselves, and report in their logs */
export function startProber(
  plan: ProbePlan,
  ringPods: readonly string[],
  self: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Prober {
  const file = join(runFolder, "probe-plan.json");
  writeFileSync(file, JSON.stringify(plan));
  const [program = "", ...first] = self;
  const child: ChildProcess = spawn(program, [...first, "chaos-probe", file], { env, stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const streams = new Map<string, StreamReport>();
  const lost: (Lost & { readonly name: string })[] = [];
  let reportedAtMs = 0;
  let longestLateMs = 0;
  const logs = ringPods.map((pod) => lineReader(logFileOf(pod)));
  /** Of processes that have gone; a stream of packets begins anew with the next one. */
  const earlier = new Map<string, StreamReport>();
  const take = (report: ProbeReport): void => {
    longestLateMs = Math.max(longestLateMs, report.lateMs);
    for (const stream of report.streams) {
      const known = streams.get(stream.name);
      if (known !== undefined && known.sent > stream.sent + (earlier.get(stream.name)?.sent ?? 0))
        earlier.set(stream.name, known);
      streams.set(stream.name, together(stream, earlier.get(stream.name)));
      for (const one of stream.lost) lost.push({ name: stream.name, ...one });
    }
  };
  const takeRings = (line: string): void => {
    if (line.startsWith(ringsReport)) take(JSON.parse(line.slice(ringsReport.length)) as ProbeReport);
  };
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const report = JSON.parse(line) as ProbeReport;
      for (const lines of logs) for (const each of lines()) takeRings(each);
      reportedAtMs = report.atMs;
      take(report);
    });
  }
  return {
    streams: () => streams,
    reportedAtMs: () => reportedAtMs,
    lost(fromMs, toMs) {
      const found = new Map<string, Lost[]>();
      for (const { name, atMs, sequence } of lost) {
        if (atMs < fromMs || atMs > toMs) continue;
        const others = found.get(name);
        if (others === undefined) found.set(name, [{ atMs, sequence }]);
        else others.push({ atMs, sequence });
      }
      return found;
    },
    longestLateMs: () => longestLateMs,
    async stop() {
      child.kill("SIGTERM");
      await gone;
    },
  };
}

function together(stream: StreamReport, before: StreamReport | undefined): StreamReport {
  if (before === undefined) return stream;
  const { sent, answered, duplicates } = before;
  return {
    ...stream,
    sent: stream.sent + sent,
    answered: stream.answered + answered,
    duplicates: stream.duplicates + duplicates,
  };
}
