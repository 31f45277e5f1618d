/** Runs `weft traffic` inside a pod's namespace and reads its answer. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { meshMark } from "../mesh/processes.js";
import type { TrafficAnswer, TrafficRequest } from "./traffic.js";

/** Listens inside a namespace until stopped. */
export async function answerTraffic(
  netnsName: string,
  ports: readonly number[],
  context: CliContext,
): Promise<{ stop(): Promise<void> }> {
  const child = start(netnsName, { mode: "answer", ports }, context);
  await firstAnswer(child, context.signal);
  return {
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "close");
      child.kill("SIGTERM");
      await gone;
    },
  };
}

/** Sends or probes from inside a namespace. */
export async function sendTraffic(netnsName: string, request: TrafficRequest, context: CliContext): Promise<TrafficAnswer> {
  const child = start(netnsName, request, context);
  const gone = once(child, "close");
  const answer = await firstAnswer(child, context.signal);
  await gone;
  return answer;
}

function start(netnsName: string, request: TrafficRequest, { self, env }: CliContext): ChildProcess {
  const [command = "", ...first] = self;
  const netns = openNetns(netnsName);
  try {
    return spawnInNetns(netns, command, [...first, "traffic", JSON.stringify(request)], {
      env: { ...env, WEFT_MESH: meshMark },
      stdio: ["ignore", "pipe", "pipe"],
    });
  } finally {
    netns.close();
  }
}

async function firstAnswer(child: ChildProcess, signal: AbortSignal): Promise<TrafficAnswer> {
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-2000);
  });
  if (child.stdout === null) throw new Error("no pipe to the traffic process");
  const stop = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", stop);
  try {
    for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line) as TrafficAnswer;
  } finally {
    signal.removeEventListener("abort", stop);
  }
  throw statusError(Code.UNAVAILABLE, `the traffic process ended without an answer: ${complaint.trim()}`);
}
