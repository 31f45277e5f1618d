/**
 * An endpoint of memif as a process of its own: for each connection `weft-fast echo` listens on its socket, and ends with this process,
 * as rings in a program's own memory do. Arguments as endpoint-process.ts; what the tool counts goes to standard error.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { socketArgs } from "../../cli/fast/workloads.js";
import { coreProgram } from "../../forwarder/native/keeper-client.js";
import { MechanismType } from "../../sdk/api.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { createLog } from "../../sdk/telemetry/log.js";

const [name = "", service = "", cidr = "", nsmgr = "", listenOn = "", stateDir = "", ...labels] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const endpoint = await serve({
  name,
  services: [service],
  cidrs: cidr.split(","),
  labels: Object.fromEntries(labels.map((label) => label.split("=") as [string, string])),
  mechanisms: [MechanismType.MEMIF],
  nsmgr,
  listenOn: [listenOn],
  stateDir,
  signal: stop.signal,
  log: createLog({ name, level: "debug" }),
  onConnection({ connection, closed }) {
    const tool = ["echo", "--server", ...socketArgs(connection), "--interval", "1"];
    const child: ChildProcess = spawn("setpriv", ["--pdeathsig", "KILL", coreProgram(), ...tool], { stdio: ["ignore", 2, 2] });
    closed.addEventListener("abort", () => child.kill());
  },
});
await endpoint.closed;
