import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";
import { until } from "../../sdk/testing/until.js";
import { logFolder } from "./plan.js";
import { startProcess } from "./processes.js";

test("a process whose machine is down is not started again before it is up; one that is killed is", async (t) => {
  mkdirSync(logFolder, { recursive: true });
  const events: string[] = [];
  const spec = {
    name: "sleeper",
    netns: `file:///proc/${process.pid}/ns/net`,
    node: "",
    command: ["sleep", "600"],
    env: {},
    restart: true,
  };
  const sleeper = startProcess(spec, process.env, (event) => events.push(event.replace(/ \(.*/, "")));
  t.after(() => sleeper.stop(0));
  const first = sleeper.pid;
  sleeper.kill("SIGKILL");
  await until("it is started again", () => sleeper.pid !== undefined && sleeper.pid !== first);
  // killed, and held while it waits to be started again
  sleeper.kill("SIGKILL");
  await until("it has ended", () => sleeper.pid === undefined);
  await sleeper.hold();
  assert.equal(sleeper.pid, undefined);
  sleeper.resume();
  assert.notEqual(sleeper.pid, undefined);
  await sleeper.hold();
  assert.equal(sleeper.pid, undefined, "nothing starts it while it is held");
  const held = events.length;
  sleeper.resume();
  sleeper.resume();
  assert.notEqual(sleeper.pid, undefined);
  assert.deepEqual(events.slice(held), ["sleeper started"], "once");
});
