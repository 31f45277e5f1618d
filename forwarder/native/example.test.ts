import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openInProcessCore } from "./in-process.js";
import { notBuilt, runTool, socketName } from "./testing/tool.js";

const top = fileURLToPath(new URL("../..", import.meta.url));

test("the example function builds with the command in its head, and reflects what comes through the core", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "reflect");
  const head = readFileSync(join(top, "examples/memif-cnf/reflect.c"), "utf8");
  const command = /^ \* {3}(cc .*) -o reflect (.*)$/m.exec(head);
  assert.ok(command);
  const built = spawnSync("bash", ["-c", `${command[1]} -Wall -Werror -o ${program} ${command[2]}`], {
    cwd: top,
    encoding: "utf8",
  });
  assert.equal(built.status, 0, built.stderr);
  const core = openInProcessCore();
  t.after(() => core.end());
  const [a, b] = [socketName("a"), socketName("b")];
  const memif = { kind: "memif", mode: "ethernet" } as const;
  const portA = await core.addPort({ ...memif, name: "a", role: "server", path: a });
  const portB = await core.addPort({ ...memif, name: "b", role: "client", path: b });
  await core.setConnect({ name: "x", portA, portB, mtuBytes: 1500 });
  const reflect = spawn(program, [b, "server"], { stdio: "ignore" });
  t.after(() => reflect.kill("SIGKILL"));
  const blast = runTool(t, ["blast", "--socket", a, "--count", "5000", "--rate", "20000", "--interval", "0.1"]);
  await blast.until(({ received }) => received > 100);
  assert.equal(await blast.ended, 0);
});
