import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { storeCompliance } from "./compliance.js";
import { openLmdbStores } from "./lmdb.js";

storeCompliance("lmdb", async () => {
  const dir = temporaryDir();
  let stores = openLmdbStores({ dir, log: silentLog });
  return {
    stores,
    async reopen() {
      await stores.close();
      stores = openLmdbStores({ dir, log: silentLog });
      return stores;
    },
    async end() {
      await stores.close();
      rmSync(dir, { recursive: true });
    },
  };
});

test("entries of both kinds are there after closing and opening, endpoints oldest first", async (t) => {
  const dir = temporaryDir();
  t.after(() => rmSync(dir, { recursive: true }));
  const first = openLmdbStores({ dir, log: silentLog });
  await first.services.replace("s", undefined, NetworkService.fromPartial({ name: "s", payload: "IP" }));
  for (const [name, seconds] of [
    ["z", 1],
    ["a", 3],
    ["m", 2],
  ] as const) {
    const entry = NetworkServiceEndpoint.fromPartial({ name, initial_registration_time: { seconds, nanos: 0 } });
    await first.endpoints.replace(name, undefined, entry);
  }
  await first.close();
  const second = openLmdbStores({ dir, log: silentLog, restore: (entry) => ({ ...entry, url: "restored" }) });
  assert.equal(second.services.table.get("s")?.payload, "IP");
  const all = second.endpoints.table.select(NetworkServiceEndpoint.fromPartial({})).map(({ entry }) => entry);
  assert.deepEqual(
    all.map((entry) => `${entry?.name} ${entry?.url}`),
    ["z restored", "m restored", "a restored"],
  );
  await second.close();
});

test("a refresh that moves only the lease is not written; any other change is", async (t) => {
  const dir = temporaryDir();
  t.after(() => rmSync(dir, { recursive: true }));
  const entry = (seconds: number, url: string) =>
    NetworkServiceEndpoint.fromPartial({
      name: "e",
      network_service_names: ["s"],
      network_service_labels: { s: { labels: { a: "b" } } },
      url,
      path_ids: ["owner"],
      expiration_time: { seconds, nanos: 0 },
      initial_registration_time: { seconds: 1, nanos: 0 },
    });
  const first = openLmdbStores({ dir, log: silentLog });
  const { endpoints } = first;
  const written = () => readFileSync(join(dir, "registry.mdb"));
  await endpoints.replace("e", undefined, entry(100, "tcp://a:1"));
  const before = written();
  await endpoints.replace("e", endpoints.table.get("e"), entry(200, "tcp://a:1"));
  assert.equal(endpoints.table.get("e")?.expiration_time?.seconds, 200);
  assert.deepEqual(written(), before);
  await endpoints.replace("e", endpoints.table.get("e"), entry(300, "tcp://b:1"));
  await endpoints.replace("e", endpoints.table.get("e"), entry(400, "tcp://b:1"));
  await first.close();
  const second = openLmdbStores({ dir, log: silentLog });
  const { url, expiration_time, path_ids } = second.endpoints.table.get("e") ?? {};
  assert.deepEqual({ url, seconds: expiration_time?.seconds, path_ids }, { url: "tcp://b:1", seconds: 300, path_ids: ["owner"] });
  await second.close();
});

test("a second store on the same directory is refused until the first is closed", async (t) => {
  const dir = temporaryDir();
  t.after(() => rmSync(dir, { recursive: true }));
  const first = openLmdbStores({ dir, log: silentLog });
  assert.throws(() => openLmdbStores({ dir, log: silentLog }), { code: Code.ALREADY_EXISTS, message: /in use by process \d+/ });
  await first.close();
  await openLmdbStores({ dir, log: silentLog }).close();
});

const damages: [why: string, damage: (file: Buffer) => Buffer][] = [
  ["is no store", () => Buffer.alloc(16_384, 7)],
  ["was cut off", (file) => file.subarray(0, file.length - 4_096)],
  ["has lost its beginning", (file) => Buffer.concat([Buffer.alloc(8_192), file.subarray(8_192)])],
];
for (const [why, damage] of damages) {
  test(`a file that ${why} is refused with the remedy, and left as it is`, async (t) => {
    const dir = temporaryDir();
    t.after(() => rmSync(dir, { recursive: true }));
    await openLmdbStores({ dir, log: silentLog }).close();
    const path = join(dir, "registry.mdb");
    const damaged = damage(readFileSync(path));
    writeFileSync(path, damaged);
    for (let i = 0; i < 2; i++) {
      assert.throws(() => openLmdbStores({ dir, log: silentLog }), {
        code: Code.FAILED_PRECONDITION,
        message: /move the file away/,
      });
    }
    assert.deepEqual(readFileSync(path), damaged);
  });
}

test("a file that was never finished is made anew", async (t) => {
  const dir = temporaryDir();
  t.after(() => rmSync(dir, { recursive: true }));
  for (const bytes of [0, 100, 4_096]) {
    writeFileSync(join(dir, "registry.mdb"), Buffer.alloc(bytes));
    await openLmdbStores({ dir, log: silentLog }).close();
  }
});

test("a closed store refuses writes with UNAVAILABLE, and finishes those under way", async (t) => {
  const dir = temporaryDir();
  t.after(() => rmSync(dir, { recursive: true }));
  const stores = openLmdbStores({ dir, log: silentLog });
  const underWay = stores.services.replace("s", undefined, NetworkService.fromPartial({ name: "s" }));
  const closed = stores.close();
  await underWay;
  await closed;
  await assert.rejects(stores.services.replace("t", undefined, NetworkService.fromPartial({ name: "t" })), {
    code: Code.UNAVAILABLE,
  });
});

function temporaryDir(): string {
  return mkdtempSync(join(tmpdir(), "wt-store-"));
}
