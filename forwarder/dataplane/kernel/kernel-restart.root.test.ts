import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { icmpEcho } from "../../../sdk/linux/icmp-echo.js";
import { MNT_DETACH, mount, unmount } from "../../../sdk/linux/libc.js";
import { Code } from "../../../sdk/status.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { until } from "../../../sdk/testing/until.js";
import { deleteByHand } from "../compliance-faults.js";
import {
  crossConnect,
  inventory,
  linkIn,
  type Namespace,
  namespace,
  noSignal,
  numbered,
  pings,
  stateFolder,
} from "../compliance-world.js";
import type { CrossConnect, DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "./kernel.js";

test("row 7.1: a restarted data plane adopts what lives, with its record, and packets flow throughout", async (t) => {
  const { client, endpoint, made, stop, restart } = await start(t);
  const before = [inventory(client), inventory(endpoint), linkIn(client, "nsm-1")];
  const flow = pingingThroughout(client, "172.16.0.0");
  await stop();
  const { dataPlane, recovery } = await restart();
  assert.deepEqual(recovery, { adopted: [made], reclaimed: [], lost: [] });
  assert.deepEqual(dataPlane.list(), [made]);
  assert.deepEqual([inventory(client), inventory(endpoint)], before.slice(0, 2));
  await dataPlane.ensure({ ...made, generation: 2 }, noSignal);
  assert.equal(linkIn(client, "nsm-1")?.index, (before[2] as { index: number }).index);
  const { sent, lost } = await flow.stop();
  assert.ok(sent > 0 && lost === 0, `${lost} of ${sent} lost`);
  await dataPlane.remove("c1", noSignal);
  assert.equal(linkIn(client, "nsm-1"), undefined);
});

test("row 1.29: what has expired meanwhile is taken away", async (t) => {
  const { client, stop, restart } = await start(t, { expiresAtMs: 1_000_000 });
  await stop();
  const { dataPlane, recovery } = await restart(1_000_001);
  assert.deepEqual(recovery.adopted, []);
  assert.ok(
    recovery.reclaimed.some(({ kind, name, connectionId }) => kind === "link" && name === "nsm-1" && connectionId === "c1"),
  );
  assert.deepEqual([linkIn(client, "nsm-1"), dataPlane.list()], [undefined, []]);
});

const orphans: { why: string; act: (pods: { client: Namespace; endpoint: Namespace }) => void | Promise<void> }[] = [
  { why: "the endpoint's namespace has ended", act: ({ endpoint }) => endpoint.end() },
  { why: "the endpoint's interface was deleted", act: ({ endpoint }) => deleteByHand(endpoint, "nse-1") },
];
for (const { why, act } of orphans) {
  test(`the rest of a broken cross-connect is taken away, rules too: ${why}`, async (t) => {
    const policies = [{ from: "172.16.0.1/32", protocol: 6, sourcePorts: undefined, destinationPorts: undefined, routes: [] }];
    const { client, endpoint, stop, restart, clean } = await start(t, {}, policies);
    await stop();
    await act({ client, endpoint });
    // a namespace without a name ends a moment later, and takes its end of the wire with it
    await until("the other end of the wire goes", () => linkIn(client, "nsm-1") === undefined);
    const { recovery } = await restart();
    assert.deepEqual(recovery.adopted, []);
    assert.deepEqual(
      recovery.lost.map(({ id }) => id),
      ["c1"],
      "its next hop can be told",
    );
    assert.deepEqual(inventory(client), clean);
  });
}

test("an interface of somebody else that has taken our name meanwhile is left alone", async (t) => {
  const { client, endpoint, stop, restart } = await start(t);
  await stop();
  await deleteByHand(client, "nsm-1");
  const other = createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog });
  await other.ensure(crossConnect("other", numbered(client, endpoint)), noSignal);
  const before = inventory(client);
  assert.deepEqual((await restart()).recovery.adopted, []);
  assert.deepEqual(inventory(client), before);
  await other.close();
});

test("an unreadable entry is put aside and the others are recovered", async (t) => {
  const { stateDir, made, stop, restart } = await start(t);
  await stop();
  const folder = join(stateDir, "cross-connects");
  writeFileSync(join(folder, "0000.json"), '{"id":"x","value"');
  writeFileSync(join(folder, "0001.json"), '{"id":"y","value":{"version":1}}');
  writeFileSync(join(folder, "0002.json.part"), "half");
  const { recovery } = await restart();
  assert.deepEqual(recovery.adopted, [made]);
  assert.ok(readdirSync(folder).includes("0000.json.unreadable"));
});

test("two data planes on one ledger: the second is refused", async (t) => {
  const { stateDir } = await start(t);
  assert.throws(() => createKernelDataPlane({ stateDir, log: silentLog }), {
    code: Code.ALREADY_EXISTS,
    details: /in use by process/,
  });
});

test("a full disk: a new cross-connect is refused and not built, a living one is refreshed and removed", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wt-full-disk-"));
  mount("tmpfs", folder, "tmpfs", 0, "size=16k", "mount a small file system");
  t.after(() => {
    unmount(folder, MNT_DETACH, "unmount the small file system");
    rmdirSync(folder);
  });
  const { client, endpoint, made, dataPlane } = await start(t, {}, [], folder);
  assert.throws(() => writeFileSync(join(folder, "filler"), Buffer.alloc(65536)), { code: "ENOSPC" });
  const third = namespace(t, "third");
  const refused = dataPlane.ensure(crossConnect("c2", numbered(third, endpoint, 2)), noSignal);
  await assert.rejects(refused, { code: Code.RESOURCE_EXHAUSTED, details: /ENOSPC.*the disk or a kernel table is full/ });
  assert.equal(linkIn(third, "nsm-1"), undefined);
  await dataPlane.ensure({ ...made, generation: 2, expiresAtMs: made.expiresAtMs - 1 }, noSignal);
  assert.ok(await pings(client, "172.16.0.0"));
  await dataPlane.remove("c1", noSignal);
  assert.equal(linkIn(client, "nsm-1"), undefined);
});

async function start(
  t: TestContext,
  change: Partial<CrossConnect> = {},
  policies: readonly object[] = [],
  stateDir = stateFolder(t),
) {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const clean = inventory(client);
  const open: DataPlane[] = [];
  t.after(() => Promise.all(open.map((each) => each.close())));
  const make = (): DataPlane => {
    const dataPlane = createKernelDataPlane({ stateDir, log: silentLog });
    open.push(dataPlane);
    return dataPlane;
  };
  const ports = numbered(client, endpoint);
  const made = crossConnect(
    "c1",
    { ...ports, client: { ...ports.client, policies: policies as typeof ports.client.policies } },
    change,
  );
  const dataPlane = make();
  await dataPlane.ensure(made, noSignal);
  const stop = async (): Promise<void> => {
    await Promise.all(open.splice(0).map((each) => each.close()));
  };
  const restart = async (nowMs = 0) => {
    const again = make();
    return { dataPlane: again, recovery: await again.recover(nowMs) };
  };
  return { client, endpoint, clean, stateDir, made, dataPlane, stop, restart };
}

/** Sends echo requests one after another until stopped, and counts. */
function pingingThroughout(from: Namespace, destination: string): { stop(): Promise<{ sent: number; lost: number }> } {
  let going = true;
  const counts = { sent: 0, lost: 0 };
  const running = (async () => {
    while (going) {
      counts.sent += 1;
      const answer = await icmpEcho({ netnsUrl: from.url, source: "", destination, timeoutMs: 2_000, signal: noSignal });
      if (answer === undefined) counts.lost += 1;
    }
  })();
  return {
    async stop() {
      going = false;
      await running;
      return counts;
    },
  };
}
