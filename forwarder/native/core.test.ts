import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CoreConnect, CorePort, PacketCore } from "./core.js";
import { openInProcessCore } from "./in-process.js";
import { openKeeperCore } from "./keeper-client.js";
import { notBuilt, runTool, socketName } from "./testing/tool.js";

const skip = notBuilt() ?? false;

const hosts = {
  "in this process": async () => openInProcessCore(),
  "in a keeper": async (t: TestContext) => {
    const folder = mkdtempSync(join(tmpdir(), "wf-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    return openKeeperCore({ socketPath: join(folder, "keeper"), ephemeral: true });
  },
} as const;

for (const [where, open] of Object.entries(hosts)) {
  const start = async (t: TestContext): Promise<PacketCore> => {
    const core = await open(t);
    t.after(() => core.end());
    return core;
  };

  test(`row 1.6: memif to memif ${where}: every packet arrives once or is counted as dropped`, { skip }, async (t) => {
    const core = await start(t);
    const { connect, a, b } = await joined(core);
    const sink = runTool(t, ["sink", "--socket", b, "--interval", "0.05"]);
    await sink.until(({ up }) => up);
    const blast = runTool(t, ["blast", "--socket", a, "--count", "300000", "--size", "128"]);
    assert.equal(await blast.ended, 0);
    const sent = (blast.lines.at(-1) as { sent: number }).sent;
    const counted = () => core.board.direction(connect, "ab");
    await sink.until(
      ({ received }) => BigInt(received) === counted().packets && counted().packets + counted().dropFull === BigInt(sent),
    );
    const total = await sink.stop();
    assert.equal(total.doubled, 0);
    assert.equal(BigInt(total.received) + counted().dropFull, BigInt(sent));
    assert.equal(counted().bytes, BigInt(total.received) * 128n);
    assert.deepEqual([counted().dropBad, counted().dropMtu, counted().dropDown], [0n, 0n, 0n]);
  });

  for (const [client, endpoint] of [
    ["ethernet", "ethernet"],
    ["ip", "ip"],
    ["ip", "ethernet"],
    ["ethernet", "ip"],
  ] as const) {
    test(`row 1.9: ping from memif ${client} to memif ${endpoint} ${where}`, { skip }, async (t) => {
      const core = await start(t);
      const { a, b } = await joined(core, { mode: client }, { mode: endpoint });
      runTool(t, ["echo", "--socket", b, ...(endpoint === "ip" ? ["--ip"] : [])]);
      const ping = runTool(t, [...pingArgs(a), ...(client === "ip" ? ["--ip"] : [])]);
      assert.equal(await ping.ended, 0, JSON.stringify(ping.lines));
    });
  }

  test(`the core is the memif client ${where}, also of a server that comes later and comes back`, { skip }, async (t) => {
    const core = await start(t);
    const { a, b } = await joined(core, {}, { role: "client" });
    for (let life = 0; life < 2; life++) {
      const echo = runTool(t, ["echo", "--server", "--socket", b]);
      assert.equal(await runTool(t, pingArgs(a)).ended, 0);
      await echo.stop();
    }
  });

  test(`row 1.24: what is larger than the MTU is dropped, counted and answered ${where}`, { skip }, async (t) => {
    const core = await start(t);
    const { connect, a, b } = await joined(core, { mode: "ip" }, { mode: "ip" }, { mtuBytes: 1000 });
    runTool(t, ["echo", "--socket", b, "--ip"]);
    const ping = runTool(t, [...pingArgs(a), "--ip", "--size", "1200", "--seconds", "1"]);
    assert.equal(await ping.ended, 1);
    const { dropMtu, answered, packets } = core.board.direction(connect, "ab");
    assert.ok(dropMtu > 0n && answered > 0n && packets === 0n, `${dropMtu} ${answered} ${packets}`);
    assert.equal(await runTool(t, [...pingArgs(a), "--ip", "--size", "1000"]).ended, 0);
  });

  test(`a rate limit drops what is above it ${where}`, { skip }, async (t) => {
    const core = await start(t);
    const limit = { rateBitsPerSecond: [8_000_000n, 0n], burstBytes: [100_000n, 0n] } as const;
    const { connect, a, b } = await joined(core, {}, {}, limit);
    const sink = runTool(t, ["sink", "--socket", b, "--interval", "0.05"]);
    await sink.until(({ up }) => up);
    await runTool(t, ["blast", "--socket", a, "--count", "20000", "--size", "1000"]).ended;
    const { packets, bytes, dropPolicer, dropFull } = core.board.direction(connect, "ab");
    assert.equal(packets + dropPolicer + dropFull, 20_000n);
    assert.ok(dropPolicer > 1_000n && bytes >= 99_000n, `${bytes} bytes passed, ${dropPolicer} packets did not`);
  });

  test(`row 1.11: without packets the worker sleeps, and wakes for the next one ${where}`, { skip }, async (t) => {
    const core = await start(t);
    const { a, b } = await joined(core);
    runTool(t, ["echo", "--socket", b]);
    for (let round = 0; round < 2; round++) {
      assert.equal(await runTool(t, pingArgs(a)).ended, 0);
      for (let before = -1n; core.board.worker().passes !== before; ) {
        before = core.board.worker().passes;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    assert.ok(core.board.worker().sleeps > 0n);
  });

  test(`asking again is the same port; another port of that name, and a joined one, are refused ${where}`, {
    skip,
  }, async (t) => {
    const core = await start(t);
    const { a, portA, connect } = await joined(core);
    assert.equal(await core.addPort(memif("a", a)), portA);
    await assert.rejects(core.addPort(memif("a", a, { mode: "ip" })), { name: "SystemError", errno: "EEXIST" });
    await assert.rejects(core.addPort(memif("other", a)), { errno: "EADDRINUSE" });
    await assert.rejects(core.removePort(portA), { errno: "EBUSY" });
    const third = await core.addPort(memif("third", socketName("third")));
    await assert.rejects(core.setConnect({ name: "second", portA, portB: third, mtuBytes: 0 }), { errno: "EBUSY" });
    await core.removeConnect(connect);
    await core.removePort(portA);
    assert.equal(core.board.link(portA), "none");
    await assert.rejects(core.removePort(portA), { errno: "ENOENT" });
  });
}

test("a port on a path: a socket that a dead process has left is replaced, a living one is not", { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "memif.sock");
  const left = runTool(t, ["sink", "--server", "--socket", path, "--interval", "0.05"]);
  await left.until(() => true);
  const core = openInProcessCore();
  t.after(() => core.end());
  await assert.rejects(core.addPort(memif("a", path)), { errno: "EADDRINUSE" });
  left.process.kill("SIGKILL");
  await left.ended;
  await core.addPort(memif("a", path));
});

test("a worker that is killed at full load is replaced: no link goes down, and no packet is doubled or lost uncounted", {
  skip,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const core = await openKeeperCore({ socketPath: join(folder, "keeper"), ephemeral: true });
  t.after(() => core.end());
  const { connect, a, b, portA, portB } = await joined(core);
  const sink = runTool(t, ["sink", "--socket", b, "--interval", "0.02"]);
  await sink.until(({ up }) => up);
  const blast = runTool(t, ["blast", "--socket", a, "--interval", "0.02", "--size", "256"]);
  const kills = 5;
  for (let kill = 1; kill <= kills; kill++) {
    const before = core.board.direction(connect, "ab").packets;
    await sink.until(() => core.board.direction(connect, "ab").packets > before + 10_000n);
    const { pid, starts } = core.board.worker();
    process.kill(pid, "SIGKILL");
    await sink.until(() => core.board.worker().starts > starts);
  }
  const after = core.board.direction(connect, "ab").packets;
  await sink.until(() => core.board.direction(connect, "ab").packets > after + 10_000n);
  const { sent } = await blast.stop();
  const counted = () => core.board.direction(connect, "ab");
  await sink.until(
    ({ received }) => counted().packets + counted().dropFull === BigInt(sent) && BigInt(received) === counted().packets,
  );
  assert.equal((await sink.stop()).doubled, 0);
  assert.deepEqual([core.board.port(portA).breaks, core.board.port(portB).epoch], [1n, 1]);
  assert.equal(core.board.worker().starts, kills + 1);
});

function memif(name: string, path: string, change: Partial<CorePort> = {}): CorePort {
  return { name, kind: "memif", mode: "ethernet", role: "server", path, ...change };
}

async function joined(
  core: PacketCore,
  changeA: Partial<CorePort> = {},
  changeB: Partial<CorePort> = {},
  change: Partial<CoreConnect> = {},
): Promise<{ a: string; b: string; portA: number; portB: number; connect: number }> {
  const [a, b] = [socketName("a"), socketName("b")];
  const portA = await core.addPort(memif("a", a, changeA));
  const portB = await core.addPort(memif("b", b, changeB));
  const connect = await core.setConnect({ name: "x", portA, portB, mtuBytes: 1500, ...change });
  return { a, b, portA, portB, connect };
}

function pingArgs(socket: string): string[] {
  return ["ping", "--socket", socket, "--from", "10.9.0.1", "--to", "10.9.0.2", "--count", "3", "--interval", "0.01"];
}
