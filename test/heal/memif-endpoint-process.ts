/**
 * An endpoint of memif as a process of its own: for each connection `weft-fast echo` listens on its socket, and ends with this process,
 * as rings in a program's own memory do. Arguments: endpoint-options.ts; what the tool counts goes to standard error.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { socketArgs } from "../../cli/fast/workloads.js";
import { coreProgram } from "../../forwarder/native/keeper-client.js";
import { MechanismType } from "../../sdk/api.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { endpointOptions } from "./endpoint-options.js";

const endpoint = await serve({
  ...endpointOptions(),
  mechanisms: [MechanismType.MEMIF],
  onConnection({ connection, closed }) {
    const tool = ["echo", "--server", ...socketArgs(connection), "--interval", "1"];
    const child: ChildProcess = spawn("setpriv", ["--pdeathsig", "KILL", coreProgram(), ...tool], { stdio: ["ignore", 2, 2] });
    closed.addEventListener("abort", () => child.kill());
  },
});
await endpoint.closed;
