import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const script = `
import { closeSync, openSync } from "node:fs";
import { receive, sendDescriptor } from "${new URL("../../linux/descriptors.ts", import.meta.url).pathname}";
import { bareDescriptors } from "${new URL("./testing.ts", import.meta.url).pathname}";
const [one, other] = await bareDescriptors();
const sent = openSync("/proc/self/ns/net", "r");
sendDescriptor(one, 65, sent);
const taken = [];
try { for (;;) taken.push(openSync("/dev/null", "r")); } catch {}
const poor = receive(other);
for (const fd of taken) closeSync(fd);
sendDescriptor(one, 66, sent);
const rich = receive(other);
process.stdout.write(JSON.stringify([poor.data.toString(), poor.descriptors.length, poor.lost, rich.data.toString(), rich.descriptors.length, rich.lost]));
`;

test("a process with no descriptor left loses what is sent to it (MSG_CTRUNC), but no byte, and says so", (t) => {
  const args = ["--nofile=256:256", process.execPath, "--import", "tsx", "--input-type=module", "-e", script];
  const run = spawnSync("prlimit", args, { encoding: "utf8", cwd: fileURLToPath(new URL("../../..", import.meta.url)) });
  if (run.error !== undefined) return t.skip("prlimit (util-linux) is missing");
  assert.equal(run.stdout, JSON.stringify(["A", 0, true, "B", 1, false]), run.stderr);
});
