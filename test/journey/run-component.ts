/**
 * One component or workload as a process of its own: `run-component.ts nsmgr`, settings in the environment. It stops at SIGTERM, and
 * when standard input ends: a test that is cut off leaves no process behind.
 */
const [, , name, ...argv] = process.argv;
const signals = new AbortController();
process.once("SIGTERM", () => signals.abort());
process.stdin.once("close", () => signals.abort()).resume();

const { run } = await load(name ?? "");
process.exitCode = await run({ argv, env: process.env, signal: signals.signal });
process.stdin.destroy();

function load(component: string) {
  switch (component) {
    case "registry":
      return import("../../registry/main.js");
    case "nsmgr":
      return import("../../nsmgr/main.js");
    case "forwarder":
      return import("../../forwarder/main.js");
    case "node":
      return import("../../node/main.js");
    case "responder":
      return import("../../apps/icmp-responder/main.js");
    case "client":
      return import("../../apps/client/main.js");
    default:
      throw new Error(`no component is called "${component}"`);
  }
}
