/** What peers, machines and programs do to the core that they should not: others lose nothing, and nothing stays behind. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { PacketCore } from "./core.js";
import { openInProcessCore } from "./in-process.js";
import { coreProgram, openKeeperCore } from "./keeper-client.js";
import { notBuilt, runTool, socketName } from "./testing/tool.js";
import { pair, runTraffic, temporary } from "./testing/traffic.js";

const skip = notBuilt() ?? false;

test("a peer that is killed in the middle of a burst: others lose nothing, and the next client of its interface is served", {
  skip,
}, async (t) => {
  const core = await keeper(t);
  const honest = await pair(core, "honest");
  const victim = await pair(core, "victim");
  const traffic = await runTraffic(t, honest);
  runTool(t, ["sink", "--socket", victim.b, "--interval", "60"]);
  for (let life = 0; life < 5; life++) {
    const before = core.board.direction(victim.connect, "ab").packets;
    const doomed = runTool(t, ["blast", "--socket", victim.a, "--interval", "0.02"]);
    await doomed.until(() => core.board.direction(victim.connect, "ab").packets > before + 1_000n);
    doomed.process.kill("SIGKILL");
    await doomed.ended;
  }
  await traffic.lostNothing(core, honest);
  assert.equal(core.board.worker().starts, 1);
});

test("thousands of connects, and clients that say nothing: an honest one gets in, and others lose nothing", {
  skip,
}, async (t) => {
  const core = await keeper(t);
  const honest = await pair(core, "honest");
  const folder = temporary(t);
  const path = join(folder, "memif.sock");
  const portA = await core.addPort({ name: "slow", kind: "memif", mode: "ethernet", role: "server", path });
  const portB = await core.addPort({ name: "echo", kind: "echo", mode: "ethernet" });
  await core.setConnect({ name: "slow", portA, portB, mtuBytes: 1500 });
  const traffic = await runTraffic(t, honest);
  // SEQPACKET is not for node:net: connects by the tool, which says hello and is killed before it goes on.
  const silent = Array.from({ length: 40 }, () =>
    spawn(coreProgram(), ["sink", "--socket", path, "--interval", "60"], { stdio: "ignore" }),
  );
  t.after(() => {
    for (const each of silent) each.kill("SIGKILL");
  });
  for (const each of silent) each.kill("SIGSTOP");
  const script =
    "import socket,sys\nheld=[]\nfor i in range(3000):\n s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n s.setblocking(False)\n" +
    " try:\n  s.connect(sys.argv[1])\n except OSError: pass\n held.append(s)\n if len(held)>200: held.pop(0).close()\nprint('done')\n";
  const storm = spawnSync("python3", ["-c", script, path], { encoding: "utf8" });
  if (storm.error === undefined) assert.equal(storm.stdout.trim(), "done", storm.stderr);
  for (const each of silent) each.kill("SIGKILL");
  const ping = ["ping", "--socket", path, "--from", "10.9.0.1", "--to", "10.9.0.2", "--count", "3", "--interval", "0.01"];
  assert.equal(await runTool(t, ping).ended, 0);
  await traffic.lostNothing(core, honest);
});

test("without a right to lock memory, and with few descriptors, the core works or refuses with the reason", {
  skip,
}, async (t) => {
  const folder = temporary(t);
  const socketPath = join(folder, "keeper");
  const starve = `ulimit -l 0; ulimit -n 90; exec ${coreProgram()} keeper ${socketPath} --ephemeral`;
  const child = spawn("bash", ["-c", starve], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const core = await openKeeperCore({ socketPath });
  const first = await pair(core, "first");
  runTool(t, ["echo", "--socket", first.b]);
  const often = ["--count", "200", "--interval", "0.01", "--seconds", "60"];
  const ping = runTool(t, ["ping", "--socket", first.a, "--from", "10.9.0.1", "--to", "10.9.0.2", ...often]);
  await ping.until(() => true);
  await assert.rejects(
    async () => {
      for (let index = 0; index < 120; index++)
        await core.addPort({ name: `p${index}`, kind: "memif", mode: "ethernet", role: "server", path: socketName(`p${index}`) });
    },
    { name: "SystemError", errno: "EMFILE" },
  );
  assert.equal(await ping.ended, 0, "what was there goes on");
  await core.end();
});

for (const [how, script, code, signal] of [
  ["comes to its natural end", "", 0, null],
  ["throws", "setTimeout(() => { throw new Error('planned'); }, 20);", 1, null],
  ["is asked to end by SIGTERM", "setInterval(() => {}, 1000); process.kill(process.pid, 'SIGTERM');", null, "SIGTERM"],
  ["exits with a code of its own", "setTimeout(() => process.exit(7), 20);", 7, null],
] as const) {
  test(`a program with a core inside that ${how} has the exit code of that, and leaves nothing`, { skip }, (t) => {
    const folder = temporary(t);
    const path = join(folder, "memif.sock");
    const module = fileURLToPath(new URL("./in-process.js", import.meta.url)).replace(
      /\.js$/,
      import.meta.url.endsWith(".ts") ? ".ts" : ".js",
    );
    const program =
      `const { openInProcessCore } = await import(${JSON.stringify(module)}); const core = openInProcessCore();` +
      `await core.addPort({ name: "a", kind: "memif", mode: "ethernet", role: "server", path: ${JSON.stringify(path)} }); ${script}`;
    const args = [...process.execArgv.filter((arg) => !arg.startsWith("--test")), "--input-type=module", "-e", program];
    const ended = spawnSync(process.execPath, args, {
      encoding: "utf8",
      timeout: 20_000,
      cwd: fileURLToPath(new URL(".", import.meta.url)),
    });
    assert.deepEqual([ended.status, ended.signal], [code, signal], ended.stderr);
    // A path stays after a sudden end; whoever comes next takes it over.
    const next = openInProcessCore();
    return next
      .addPort({ name: "a", kind: "memif", mode: "ethernet", role: "server", path })
      .finally(() => next.end())
      .then(() => assert.deepEqual(readdirSync(folder), []));
  });
}

test("a keeper that is asked to end by SIGTERM ends with 0, with its worker and its files", { skip }, async (t) => {
  const folder = temporary(t);
  const socketPath = join(folder, "keeper");
  const child = spawn(coreProgram(), ["keeper", socketPath], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const core = await openKeeperCore({ socketPath });
  await pair(core, "one");
  const { pid } = core.board.worker();
  const code = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  assert.equal(await code, 0);
  await core.close();
  assert.deepEqual(readdirSync(folder), []);
  assert.throws(() => readFileSync(`/proc/${pid}/comm`), { code: "ENOENT" });
  await new Promise<void>((resolve) => createConnection(socketPath).once("error", () => resolve()));
});

async function keeper(t: TestContext): Promise<PacketCore> {
  const core = await openKeeperCore({ socketPath: join(temporary(t), "keeper"), ephemeral: true });
  t.after(() => core.end());
  return core;
}
