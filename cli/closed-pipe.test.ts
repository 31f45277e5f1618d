import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const weft = fileURLToPath(new URL("../scripts/weft.mjs", import.meta.url));

test("a reader that leaves early is no failure: the command ends in its own way, without a stack trace", async () => {
  const child = spawn(process.execPath, [weft, "doctor"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  const [, signal] = await once(child, "close");
  assert.equal(signal, null);
  assert.doesNotMatch(errors, /EPIPE|at .*\.[jt]s:\d+/);
});
