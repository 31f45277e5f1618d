/** A peer that makes its shared memory smaller while the core works in it: others lose nothing. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { coreProgram, openKeeperCore } from "./keeper-client.js";
import { notBuilt, runTool } from "./testing/tool.js";
import { pair, runTraffic, temporary } from "./testing/traffic.js";

const built = notBuilt();
const sanitized = built === undefined && readFileSync(coreProgram()).includes("__asan_init");
const skip =
  built ?? (sanitized ? "the core is built with sanitizers, which take SIGBUS for themselves; build it without" : false);

test("memory of a peer is sealed as soon as it is taken: it cannot be made smaller, and packets flow on", { skip }, async (t) => {
  const core = await keeper(t);
  const victim = await pair(core, "victim");
  const traffic = await runTraffic(t, { ...victim, a: victim.b, b: victim.a });
  for (const memory of memoriesOfChildren()) assert.throws(() => truncateSync(memory, 4096), { code: "EPERM" });
  await traffic.lostNothing(core, victim, "ba");
  assert.equal(core.board.port(victim.portA).faults, 0n);
});

test("memory that has gone all the same (as huge pages may) under a core at work: that port alone breaks, and its next client is served", {
  skip,
}, async (t) => {
  const env = unsealed(t);
  const core = await keeper(t, env);
  const honest = await pair(core, "honest");
  const victim = await pair(core, "victim");
  const traffic = await runTraffic(t, honest);
  const flood = runTool(t, ["blast", "--socket", victim.b, "--interval", "0.05"]);
  for (let life = 1; life <= 5; life++) {
    const hostile = runTool(t, ["sink", "--socket", victim.a, "--interval", "0.02"], env);
    await hostile.until(({ received }) => received > 1_000);
    // Stopped, it does not fall over its own memory; the worker goes on writing into it.
    hostile.process.kill("SIGSTOP");
    for (const memory of memoriesOf(hostile.process.pid ?? 0)) truncateSync(memory, 0);
    await flood.until(() => core.board.port(victim.portA).faults >= BigInt(life) || core.board.worker().starts > 1);
    hostile.process.kill("SIGKILL");
    await hostile.ended;
  }
  assert.equal(core.board.worker().starts, 1, "the worker has not died of it");
  await traffic.lostNothing(core, honest);
  const next = runTool(t, ["sink", "--socket", victim.a, "--interval", "0.02"]);
  await next.until(({ received }) => received > 1_000);
});

/** A keeper in that environment. */
async function keeper(t: TestContext, env: NodeJS.ProcessEnv = process.env) {
  const socketPath = join(temporary(t), "keeper");
  const child = spawn(coreProgram(), ["keeper", socketPath, "--ephemeral"], {
    stdio: ["ignore", "pipe", "inherit"],
    env,
  });
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const core = await openKeeperCore({ socketPath });
  t.after(() => core.end());
  return core;
}

/** The files of shared memory that a process has open. */
function memoriesOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder)
    .map((fd) => join(folder, fd))
    .filter((path) => readlinkSync(path).startsWith("/memfd:weft-memif"));
}

function memoriesOfChildren(): string[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
  const found = children.flatMap((pid) => memoriesOfOrNone(Number(pid)));
  assert.ok(found.length >= 2, "a tool at each end, and the keeper");
  return found;
}

/** None when it has ended meanwhile. */
function memoriesOfOrNone(pid: number): string[] {
  try {
    return memoriesOf(pid);
  } catch {
    return [];
  }
}

/** An environment in which seals do not hold, although they are reported: what lies behind them is tested. */
function unsealed(t: TestContext): NodeJS.ProcessEnv {
  const folder = temporary(t);
  const [source, library] = [join(folder, "seals.c"), join(folder, "seals.so")];
  writeFileSync(source, shim);
  const made = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  return { ...process.env, LD_PRELOAD: library };
}

const shim = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
static int answer(const char *name, int fd, int command, void *argument) {
  if (command == F_ADD_SEALS) return 0;
  if (command == F_GET_SEALS) return F_SEAL_SHRINK;
  return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, name))(fd, command, argument);
}
int fcntl(int fd, int command, ...) { va_list rest; va_start(rest, command); void *a = va_arg(rest, void *); va_end(rest); return answer("fcntl", fd, command, a); }
int fcntl64(int fd, int command, ...) { va_list rest; va_start(rest, command); void *a = va_arg(rest, void *); va_end(rest); return answer("fcntl64", fd, command, a); }
`;
