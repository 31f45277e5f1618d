/** A workload of the chaos suite that has rings instead of an interface: `weft chaos-rings client|endpoint`, one process a pod. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { MechanismType } from "../../sdk/api.js";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import type { LivenessCheck } from "../../sdk/client/liveness.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { Code, statusError } from "../../sdk/status.js";
import { createLog } from "../../sdk/telemetry/log.js";
import type { CliContext } from "../context.js";
import { toolProgram } from "../fast/tool.js";
import { addressesOf, socketArgs } from "../fast/workloads.js";
import { untilAborted } from "../until-aborted.js";
import { answerTimeMs, type ProbeReport, type StreamReport } from "./prober.js";
import { ringsReport, ringsVariable } from "./rings-settings.js";
import { createTally, type Tally } from "./tally.js";

const ringsPerSecond = 20;
const reportMs = 100;
/** A tool's packets have numbers of 16 bits; then it is started again. */
const packetsOfTool = 60_000;
const startAgainMs = 50;

export function rings(role: string, context: CliContext): Promise<number> {
  if (role === "client") return ringsClient(context);
  if (role === "endpoint") return ringsEndpoint(context);
  throw statusError(Code.INVALID_ARGUMENT, `chaos-rings: "${role}" is neither client nor endpoint`);
}

async function ringsEndpoint({ env, signal, out }: CliContext): Promise<number> {
  const { NSM_NAME: name = "", NSM_CONNECT_TO: nsmgr = "", NSM_LISTEN_ON: listenOn = "", WEFT_STATE_DIR: stateDir = "" } = env;
  const program = await toolProgram();
  const endpoint = await serve({
    ...{ name, nsmgr, listenOn: [listenOn], stateDir, signal },
    services: [env[ringsVariable.service] ?? ""],
    cidrs: (env[ringsVariable.cidrs] ?? "").split(","),
    labels: { app: "chaos" },
    mechanisms: [MechanismType.MEMIF],
    log: createLog({ name, level: "debug", destination: out }),
    onConnection({ connection, closed }) {
      const tool = withUs(program, ["echo", "--server", ...socketArgs(connection), "--interval", "3600"]);
      closed.addEventListener("abort", () => tool.kill());
    },
  });
  await endpoint.closed;
  return 0;
}

/** Rings in a program's own memory end with it, and so does the tool that has them in our place. */
function withUs(program: string, args: readonly string[]): ChildProcess {
  return spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

interface Stream {
  readonly name: string;
  readonly tally: Tally;
  connection: ClientConnection | undefined;
  tool: ChildProcess | undefined;
  /** Told of every answer. */
  readonly answered: Set<() => void>;
}

async function ringsClient({ env, signal, out }: CliContext): Promise<number> {
  const { NSM_NAME: name = "", NSM_CONNECT_TO: nsmgr = "" } = env;
  const service = env[ringsVariable.service] ?? "";
  const log = createLog({ name, level: "debug", destination: out });
  const program = await toolProgram();
  const streams = Array.from({ length: Number(env[ringsVariable.connections]) }, (_, index): Stream => {
    const tally = createTally(answerTimeMs);
    return {
      name: `${name}/${service.slice(0, 10)}-${index} rings`,
      tally,
      connection: undefined,
      tool: undefined,
      answered: new Set(),
    };
  });
  const reporting = setInterval(
    reporter(streams, (line) => out.write(line)),
    reportMs,
  );
  try {
    for (const [index, stream] of streams.entries()) {
      const connection = await connect({
        ...{ url: `memif://${service}`, id: `${name}-${index}`, name, nsmgr, log, signal },
        liveness: livenessOf(stream, program, signal),
        livenessIntervalMs: Number(env[ringsVariable.livenessInterval]),
        livenessTimeoutMs: Number(env[ringsVariable.livenessTimeout]),
      });
      stream.connection = connection;
      startPing(stream, connection.connection, program, signal);
      log.info(`connected to ${service}`, { connectionId: connection.id });
    }
    await untilAborted(signal);
    await Promise.all(streams.map(({ connection }) => connection?.close()));
  } finally {
    clearInterval(reporting);
    for (const { tool } of streams) tool?.kill();
  }
  return 0;
}

/** An answer that comes out of the rings from now on is the sign of life. */
function livenessOf(stream: Stream, program: string, ending: AbortSignal): LivenessCheck {
  return (connection, { timeoutMs, signal }) => {
    if (stream.tool === undefined) startPing(stream, connection, program, ending);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(late);
        stream.answered.delete(alive);
        signal.removeEventListener("abort", abort);
        settle();
      };
      const alive = (): void => end(() => resolve(true));
      const abort = (): void => end(() => reject(signal.reason as Error));
      const late = setTimeout(() => end(() => resolve(false)), timeoutMs);
      stream.answered.add(alive);
      signal.addEventListener("abort", abort);
    });
  };
}

function startPing(stream: Stream, connection: ClientConnection["connection"], program: string, signal: AbortSignal): void {
  if (stream.tool !== undefined || signal.aborted) return;
  const { own, other } = addressesOf(connection);
  const pace = ["--steady", "--interval", String(1 / ringsPerSecond), "--count", String(packetsOfTool), "--seconds", "86400"];
  const tool = withUs(program, ["ping", ...socketArgs(connection), "--from", own, "--to", other, ...pace]);
  const first = stream.tally.sent;
  stream.tool = tool;
  if (tool.stdout !== null) createInterface({ input: tool.stdout }).on("line", (line) => hear(stream, line, first));
  tool.once("close", () => {
    stream.tool = undefined;
    setTimeout(() => startPing(stream, stream.connection?.connection ?? connection, program, signal), startAgainMs);
  });
}

function hear({ tally, answered }: Stream, line: string, first: number): void {
  const { sending, taken, sequence } = JSON.parse(line) as { sending?: number; taken?: boolean; sequence?: number };
  if (sending !== undefined) {
    const number = tally.send(machineNowMs());
    if (taken === false) tally.refuse(number);
  } else if (sequence !== undefined) {
    tally.answer(first + sequence);
    for (const each of [...answered]) each();
  }
}

function reporter(streams: readonly Stream[], write: (line: string) => void): () => void {
  let before = machineNowMs();
  return () => {
    const atMs = machineNowMs();
    const lateMs = Math.max(0, Math.round(atMs - before - reportMs));
    before = atMs;
    // what came in during a pause of this process is still to be read, and came in time
    if (lateMs > 2 * reportMs) return;
    const report: ProbeReport = {
      atMs,
      lateMs,
      streams: streams.filter(({ tally }) => tally.sent > 0).map((each) => reportOf(each, atMs)),
    };
    write(`${ringsReport}${JSON.stringify(report)}\n`);
  };
}

function reportOf({ name, tally, connection }: Stream, atMs: number): StreamReport {
  const { sent, answered, duplicates, lastAnsweredSentAtMs } = tally;
  const { own, other: far } = connection === undefined ? { own: "", other: "" } : addressesOf(connection.connection);
  return {
    name,
    sent,
    answered,
    duplicates,
    lastAnsweredSentAtMs,
    own,
    far,
    periodMs: 1_000 / ringsPerSecond,
    lost: tally.settle(atMs),
  };
}

/** Date.now() is what a fault may shift (scripts/chaos-clock.mjs). */
function machineNowMs(): number {
  return Math.round(performance.timeOrigin + performance.now());
}
