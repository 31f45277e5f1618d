/**
 * One part of a mesh from this repository as a process: `part.ts nsmgr`, settings in the environment, events on standard
 * output as the Go parts have them. It ends at SIGTERM, and when standard input ends.
 */
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { parseAddress } from "../../../sdk/transport/address.js";
import { runClient } from "./client.js";
import { emit } from "./emit.js";
import { runEndpoint } from "./endpoint.js";

type Env = Readonly<Record<string, string | undefined>>;
/** @returns the exit code */
type Run = (options: { argv: readonly string[]; env: Env; signal: AbortSignal }) => Promise<number>;

const retryMs = 20;

const part = process.argv[2] ?? "";
const env: Env = process.env;
const ending = new AbortController();
process.once("SIGTERM", () => ending.abort());
const commands = createInterface({ input: process.stdin });
commands.once("close", () => ending.abort());
try {
  process.exitCode = await runPart();
} finally {
  commands.close();
  process.stdin.destroy();
}

async function runPart(): Promise<number> {
  const { signal } = ending;
  if (part === "client") return runClient(env, signal, commands);
  if (part === "endpoint") return runEndpoint(env, signal);
  const run = await load(part);
  void ready((env["NSM_LISTEN_ON"] ?? "").split(","), signal);
  return run({ argv: [], env, signal });
}

async function load(name: string): Promise<Run> {
  switch (name) {
    case "registry":
      return (await import("../../../registry/main.js")).run;
    case "nsmgr":
      return (await import("../../../nsmgr/main.js")).run;
    case "forwarder":
      return (await import("../../../forwarder/main.js")).run;
    default:
      throw new Error(`no part is called "${name}"`);
  }
}

/** Tells when somebody can connect to all urls. */
async function ready(urls: readonly string[], signal: AbortSignal): Promise<void> {
  for (const url of urls) {
    while (!signal.aborted && !(await accepts(url))) await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
  if (!signal.aborted) emit("ready");
}

function accepts(url: string): Promise<boolean> {
  const address = parseAddress(url);
  return new Promise((resolve) => {
    const socket = address.kind === "unix" ? createConnection(address.path) : createConnection(address.port, address.host);
    const settle = (open: boolean) => (): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", settle(true)).once("error", settle(false));
  });
}
