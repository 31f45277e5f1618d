import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, isStatusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { until } from "../sdk/testing/until.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";
import { collect, endpoint, type Scope, stacked, testRegistry } from "./test-registry.js";

test("a full disk gives RESOURCE_EXHAUSTED, loses nothing, and is recovered from", async (context) => {
  const t = stacked(context);
  const stateDir = tinyDisk(t, "1m");
  const config = { store: "lmdb", stateDir } as const;
  const first = await testRegistry(t, config);
  const stored = await fill(first.endpoints, first.signal);
  assert.ok(stored.length > 50, `only ${stored.length} entries fit`);
  assert.deepEqual(await names(first.endpoints), stored);

  // Full stays full, is answered every time, and reading goes on.
  for (let i = 0; i < 20; i++) await assert.rejects(register(first.endpoints, `more${i}`), { code: Code.RESOURCE_EXHAUSTED });
  assert.deepEqual(await names(first.endpoints), stored);
  await first.stop();

  const second = await testRegistry(t, config);
  assert.deepEqual(await names(second.endpoints), stored);
  const [gone, ...kept] = stored;
  for (const name of stored.slice(0, 40)) await untilRemoved(second.endpoints, name);
  assert.deepEqual(await names(second.endpoints), kept.slice(39));
  assert.ok(gone !== undefined);
  await register(second.endpoints, gone);
  await second.stop();

  const third = await testRegistry(t, config);
  assert.deepEqual(await names(third.endpoints), [...kept.slice(39), gone]);
});

test("a disk that others fill and free again; the operator hears of each once", async (context) => {
  const t = stacked(context);
  const stateDir = tinyDisk(t, "2m");
  const told: string[] = [];
  const keep = (message: string): void => void (/disk|room/.test(message) && told.push(message));
  const log = { ...silentLog, error: keep, warn: keep, info: keep };
  const { endpoints } = await testRegistry(t, { store: "lmdb", stateDir }, { log });
  await register(endpoints, "before");
  const ballast = join(stateDir, "ballast");
  assert.throws(() => writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024)), { code: "ENOSPC" });
  const refusedMeanwhile = await Promise.allSettled(Array.from({ length: 200 }, (_, i) => register(endpoints, `m${i}`)));
  const refused = refusedMeanwhile.filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
  assert.ok(refused.length > 0);
  assert.ok(refused.every(({ reason }) => isStatusError(reason) && reason.code === Code.RESOURCE_EXHAUSTED));
  assert.equal((await names(endpoints)).length, 1 + refusedMeanwhile.length - refused.length);
  rmSync(ballast);
  await register(endpoints, "after");
  assert.ok((await names(endpoints)).includes("after"));
  assert.equal(told.length, 2, told.join("\n"));
  assert.match(told[0] ?? "", /is full.*free some room/);
  assert.match(told[1] ?? "", /has room again/);
});

test("a store cannot be made on a full disk, and the registry says so", async (context) => {
  const t = stacked(context);
  const stateDir = tinyDisk(t, "64k");
  assert.throws(() => writeFileSync(join(stateDir, "ballast"), Buffer.alloc(1024 * 1024)), { code: "ENOSPC" });
  await assert.rejects(
    testRegistry(t, { store: "lmdb", stateDir }),
    (error) => isStatusError(error) && /room|space/.test(error.message),
  );
  rmSync(join(stateDir, "ballast"));
});

const registering = () => ({ signal: AbortSignal.timeout(10_000) });

function register(endpoints: RemoteRegistry<NetworkServiceEndpoint>, name: string): Promise<NetworkServiceEndpoint> {
  const label = "x".repeat(1_500);
  const network_service_labels = { s: { labels: { label } } };
  return endpoints.register(endpoint(name, { network_service_names: ["s"], network_service_labels }), registering());
}

/** Registers until the disk is full; the names that were acknowledged. */
async function fill(endpoints: RemoteRegistry<NetworkServiceEndpoint>, signal: AbortSignal): Promise<string[]> {
  const stored: string[] = [];
  while (!signal.aborted) {
    const name = `e${String(stored.length).padStart(5, "0")}`;
    try {
      await register(endpoints, name);
    } catch (error) {
      assert.ok(isStatusError(error) && error.code === Code.RESOURCE_EXHAUSTED, String(error));
      assert.match(error.message, /disk of .* is full; free some room/);
      return stored;
    }
    stored.push(name);
  }
  return stored;
}

/** Removing needs a little room too; there is some after a few tries, because a refused write gives its pages back. */
async function untilRemoved(endpoints: RemoteRegistry<NetworkServiceEndpoint>, name: string): Promise<void> {
  await until(`${name} to go`, async () => {
    const removed = endpoints.unregister(endpoint(name), registering());
    return removed.then(
      () => true,
      () => false,
    );
  });
}

async function names(endpoints: RemoteRegistry<NetworkServiceEndpoint>): Promise<string[]> {
  return (await collect(endpoints.find(endpoint(""), { watch: false, ...registering() }))).map(({ name }) => name);
}

function tinyDisk(t: Scope, size: string): string {
  const dir = mkdtempSync(join(tmpdir(), "wt-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "wt-disk", dir]);
  t.after(() => {
    execFileSync("umount", [dir]);
    rmSync(dir, { recursive: true });
  });
  return dir;
}
