/** A steady stream of numbered echo requests through the rings of a memif connection, and what became of each. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { addressesOf, socketArgs } from "../../cli/fast/workloads.js";
import { coreProgram } from "../../forwarder/native/keeper-client.js";
import type { ClientConnection, ConnectOptions } from "../../sdk/client/connect.js";
import type { LivenessCheck } from "../../sdk/client/liveness.js";
import type { Connection } from "../../sdk/gen/connection.js";
import type { CleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import type { ProcessMesh } from "./process-mesh.js";

export interface MemifReport {
  /** From `begin` up to the last that came back. */
  readonly sent: number;
  /** Those of them that did not come back. */
  readonly lost: number;
  /** That came back more than once. */
  readonly doubled: number;
  /** Longest time without an answer. */
  readonly longestGapMs: number;
}

export interface MemifClient {
  readonly connection: ClientConnection & { readonly netns: string };
  /** Counts from now on. */
  begin(): void;
  /** Waits for an answer to a packet that is sent from now on, and tells what became of those since `begin`. */
  report(): Promise<MemifReport>;
  /** Time of the last answer, on the clock of performance.now(). */
  lastAnswerMs(): number;
}

/** Pauses between two packets, in seconds. */
const interval = "0.02";
/** The number of a packet has 16 bits. */
const most = "60000";
const answerTimeoutMs = 30_000;
/** Packets that must come back before a report. */
const enough = 10;

/** A client in a pod of its own, that looks at its data path by the answers that come out of its rings. */
export async function memifClient(
  t: CleanUp,
  mesh: ProcessMesh,
  node: number,
  options: Partial<ConnectOptions> & { readonly url: string },
): Promise<MemifClient> {
  const answers = new Set<() => void>();
  const told = { first: 0, numbers: [] as number[], lastMs: 0, longestGapMs: 0 };
  const answered = (sequence: number): void => {
    const nowMs = performance.now();
    told.longestGapMs = Math.max(told.longestGapMs, nowMs - told.lastMs);
    told.lastMs = nowMs;
    told.numbers.push(sequence);
    for (const each of [...answers]) each();
  };
  const liveness: LivenessCheck = (_, { timeoutMs, signal }) =>
    new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(late);
        answers.delete(alive);
        signal.removeEventListener("abort", abort);
        settle();
      };
      const alive = (): void => end(() => resolve(true));
      const abort = (): void => end(() => reject(signal.reason as Error));
      const late = setTimeout(() => end(() => resolve(false)), timeoutMs);
      answers.add(alive);
      signal.addEventListener("abort", abort);
    });
  const probe = { liveness, livenessIntervalMs: 50, livenessTimeoutMs: 2_000 };
  const connection = await mesh.client(node, { ...probe, ...options });
  startPing(t, connection.connection, connection.netns, answered);
  await until("packets through the rings", () => told.numbers.length > 3, answerTimeoutMs);
  const next = (): number => (told.numbers.at(-1) ?? told.first - 1) + 1;
  const begin = (): void => void Object.assign(told, { first: next(), numbers: [], lastMs: performance.now(), longestGapMs: 0 });
  return {
    connection,
    begin,
    lastAnswerMs: () => told.lastMs,
    async report() {
      const now = next();
      await until("packets that are sent now", () => next() > now + enough, answerTimeoutMs);
      const { first, numbers, longestGapMs } = told;
      const different = new Set(numbers).size;
      const sent = next() - first;
      return { sent, lost: sent - different, doubled: numbers.length - different, longestGapMs: Math.round(longestGapMs) };
    },
  };
}

function startPing(t: CleanUp, connection: Connection, netns: string, answered: (sequence: number) => void): void {
  const { own, other } = addressesOf(connection);
  const place = [...socketArgs(connection), "--netns", `/run/netns/${netns}`, "--from", own, "--to", other];
  const args = ["ping", ...place, "--interval", interval, "--count", most, "--seconds", "290"];
  const child = spawn(coreProgram(), args, { stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { sequence } = JSON.parse(line) as { readonly sequence?: number };
    if (sequence !== undefined) answered(sequence);
  });
  t.after(async () => {
    child.kill("SIGKILL");
    await gone;
  });
}
