/**
 * One component or workload as a process of its own: `run-part.ts nsmgr`, settings in the environment. It stops when
 * standard input ends.
 */
const [, , name, ...argv] = process.argv;
const signals = new AbortController();
process.stdin.once("close", () => signals.abort()).resume();

const { run } = await load(name ?? "");
process.exitCode = await run({ argv, env: process.env, signal: signals.signal });
process.stdin.destroy();

function load(part: string) {
  switch (part) {
    case "registry":
      return import("../../registry/main.js");
    case "nsmgr":
      return import("../../nsmgr/main.js");
    case "forwarder":
      return import("../../forwarder/main.js");
    case "responder":
      return import("../../apps/icmp-responder/main.js");
    case "client":
      return import("../../apps/client/main.js");
    default:
      throw new Error(`no part is called "${part}"`);
  }
}
