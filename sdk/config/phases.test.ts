import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "../telemetry/log.js";
import { createPhases } from "./phases.js";

test("phases stop once, in reverse order", async () => {
  const { phases, done, phase } = start();
  await phase("a");
  await phase("b");
  await Promise.all([phases.stop(), phases.stop()]);
  assert.deepEqual(done, ["start a", "start b", "stop b", "stop a"]);
});

test("a phase that fails stops those before it, and its error goes on", async () => {
  const { phases, done, phase, lines } = start();
  await phase("a");
  const start2 = (): Promise<never> => Promise.reject(new Error("port taken"));
  await assert.rejects(phases.run("b", start2), /port taken/);
  assert.deepEqual(done, ["start a", "stop a"]);
  assert.ok(lines.some((line) => line.includes("phase 2 failed: b")));
});

test("a phase that does not stop, or fails to, is named and left behind", async () => {
  const { phases, done, phase, lines } = start();
  await phase("a");
  await phases.run(
    "hangs",
    () => 1,
    () => new Promise<never>(() => {}),
  );
  await phases.run(
    "throws",
    () => 1,
    () => Promise.reject(new Error("cannot")),
  );
  await phases.stop();
  assert.deepEqual(done, ["start a", "stop a"]);
  for (const name of ["hangs", "throws"]) assert.ok(lines.some((line) => line.includes(`not stopped cleanly: ${name}`)));
});

function start() {
  const lines: string[] = [];
  const done: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line: string) => lines.push(line) } });
  const phases = createPhases(log, 20);
  const phase = (name: string): Promise<number> =>
    phases.run(
      name,
      () => done.push(`start ${name}`),
      () => void done.push(`stop ${name}`),
    );
  return { phases, lines, done, phase };
}
