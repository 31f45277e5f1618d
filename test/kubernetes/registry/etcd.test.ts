/** The store on etcd: the suite of all stores, and what happens to etcd clusters. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { storeCompliance } from "../../../registry/store/compliance.js";
import { openEtcdStores } from "../../../registry/store/etcd/stores.js";
import type { Stores } from "../../../registry/store/store.js";
import { manualClock, systemClock } from "../../../sdk/clock.js";
import { NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import { Code, isStatusError } from "../../../sdk/status.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { type EtcdMember, etcdMembers } from "../rig/etcd.js";
import { eventually } from "../rig/eventually.js";
import { lacking, program } from "../rig/programs.js";

const skip = lacking("etcd", "etcdctl");
const timing = { watchMs: 5_000, pauseMs: 50 };

storeCompliance(
  "etcd",
  async () => {
    const cluster = await startMembers(1);
    const open = () => openStoresAt(cluster.urls, { leasePeriodMs: 0, clock: manualClock(0) });
    let stores = await open();
    return {
      stores,
      async reopen() {
        await stores.close();
        stores = await open();
        return stores;
      },
      async end() {
        await stores.close();
        await cluster.stop();
      },
    };
  },
  skip,
);

test("of three members one may die, whichever it is: what was acknowledged is there, and writing goes on", {
  skip,
}, async (t) => {
  const cluster = await startMembers(3);
  t.after(() => cluster.stop());
  const [a, b] = [await openStoresAt(cluster.urls), await openStoresAt([...cluster.urls].reverse())];
  t.after(async () => void (await Promise.all([a.close(), b.close()])));
  const acknowledged = new Set<string>();
  let number = 0;
  const register = async (stores: Stores): Promise<void> => {
    const name = `e${number++}`;
    // a caller tries again when he is told to
    for (let tries = 0; ; tries++) {
      try {
        await stores.endpoints.replace(name, stores.endpoints.table.get(name), endpoint(name));
        break;
      } catch (error) {
        const again = isStatusError(error) && (error.code === Code.UNAVAILABLE || error.code === Code.ABORTED);
        if (!again || tries === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    acknowledged.add(name);
  };
  for (const member of cluster.members) {
    for (let i = 0; i < 5; i++) await register(i % 2 === 0 ? a : b);
    await member.stop("SIGKILL");
    for (let i = 0; i < 5; i++) await register(i % 2 === 0 ? a : b);
    await member.start();
  }
  const names = (stores: Stores): string[] => [...stores.endpoints.table.places()].map(({ entry }) => entry?.name ?? "").sort();
  const all = [...acknowledged].sort();
  for (const stores of [a, b]) await eventually("all to be known", () => names(stores).join() === all.join(), 30_000);
  const fresh = await openStoresAt(cluster.urls);
  assert.deepEqual(names(fresh), all);
  await fresh.close();
});

test("two replicas: of two writers one wins, and the other sees what he wrote", { skip }, async (t) => {
  const cluster = await startMembers(1);
  t.after(() => cluster.stop());
  const [a, b] = [await openStoresAt(cluster.urls), await openStoresAt(cluster.urls)];
  t.after(async () => void (await Promise.all([a.close(), b.close()])));
  const results = await Promise.allSettled([
    a.endpoints.replace("e", undefined, endpoint("e", "tcp://a:1")),
    b.endpoints.replace("e", undefined, endpoint("e", "tcp://b:1")),
  ]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  await eventually("both to agree", () => a.endpoints.table.get("e")?.url === b.endpoints.table.get("e")?.url);
  await b.endpoints.replace("e", b.endpoints.table.get("e"), undefined);
  await eventually("the other to see it gone", () => a.endpoints.table.get("e") === undefined);
});

test("a replica that was away while the past was compacted lists again; answers say that they are from memory meanwhile", {
  skip,
}, async (t) => {
  const cluster = await startMembers(1);
  t.after(() => cluster.stop());
  const proxy = await startProxy(cluster.urls[0] ?? "");
  t.after(() => proxy.stop());
  const [near, far] = [await openStoresAt(cluster.urls), await openStoresAt([proxy.url])];
  t.after(async () => void (await Promise.all([near.close(), far.close()])));
  await near.endpoints.replace("gone", undefined, endpoint("gone"));
  await near.endpoints.replace("kept", undefined, endpoint("kept"));
  await eventually("both", () => far.endpoints.table.size === 2);
  proxy.refuse(true);
  await eventually("the outage to be noticed", () => far.staleness?.() !== undefined);
  assert.match(far.staleness?.()?.why ?? "", /no etcd member/);
  assert.equal(far.endpoints.table.size, 2);
  await assert.rejects(far.endpoints.replace("x", undefined, endpoint("x")), { code: Code.UNAVAILABLE });
  // a refresh is taken all the same
  await far.endpoints.replace("kept", far.endpoints.table.get("kept"), endpoint("kept", "tcp://1:1", 90));
  await near.endpoints.replace("gone", near.endpoints.table.get("gone"), undefined);
  for (let i = 0; i < 5; i++)
    await near.endpoints.replace("kept", near.endpoints.table.get("kept"), endpoint("kept", `tcp://k:${i}`));
  await compact(cluster.urls[0] ?? "");
  proxy.refuse(false);
  await eventually(
    "what was missed",
    () => far.endpoints.table.get("gone") === undefined && far.endpoints.table.get("kept")?.url === "tcp://k:4",
  );
  assert.equal(far.staleness?.(), undefined);
});

test("restored from a backup every replica gives the answers of the backup, running or started anew", { skip }, async (t) => {
  const cluster = await startMembers(1);
  t.after(() => cluster.stop());
  const [member] = cluster.members;
  assert.ok(member);
  const running = await openStoresAt(cluster.urls);
  t.after(() => running.close());
  for (const name of ["a", "b", "c"]) await running.endpoints.replace(name, undefined, endpoint(name, `tcp://${name}:1`));
  const snapshot = join(cluster.dir, "snapshot.db");
  etcdctl(["--endpoints", member.url, "snapshot", "save", snapshot]);
  await running.endpoints.replace("a", running.endpoints.table.get("a"), undefined);
  await running.endpoints.replace("b", running.endpoints.table.get("b"), endpoint("b", "tcp://later:1"));
  await running.endpoints.replace("d", undefined, endpoint("d"));
  await member.stop("SIGKILL");
  rmSync(member.dir, { recursive: true });
  etcdctl([
    "snapshot",
    "restore",
    snapshot,
    "--data-dir",
    member.dir,
    "--name",
    member.name,
    "--initial-cluster",
    `${member.name}=http://127.0.0.1:1`,
    "--initial-advertise-peer-urls",
    "http://127.0.0.1:1",
  ]);
  await member.start();
  const answers = (stores: Stores): string =>
    [...stores.endpoints.table.places()]
      .map(({ entry }) => `${entry?.name} ${entry?.url}`)
      .sort()
      .join(", ");
  await eventually("the answers of the backup", () => answers(running) === "a tcp://a:1, b tcp://b:1, c tcp://c:1", 20_000).catch(
    (error: Error) => {
      throw new Error(`${error.message}: ${answers(running)}`);
    },
  );
  const fresh = await openStoresAt(cluster.urls);
  assert.equal(answers(fresh), answers(running));
  await fresh.close();
  await running.endpoints.replace("e", undefined, endpoint("e"));
});

test("endpoints hang on a lease of their replica, and a lease that was lost is replaced", { skip }, async (t) => {
  const cluster = await startMembers(1);
  t.after(() => cluster.stop());
  const stores = await openStoresAt(cluster.urls);
  t.after(() => stores.close());
  await stores.endpoints.replace("e", undefined, endpoint("e"));
  const { leases } = await post<{ leases: { ID: string }[] }>(cluster.urls[0] ?? "", "/v3/lease/leases", {});
  assert.equal(leases.length, 1);
  await post(cluster.urls[0] ?? "", "/v3/lease/revoke", { ID: leases[0]?.ID });
  await eventually("the endpoint to go with its lease", () => stores.endpoints.table.get("e") === undefined);
  await stores.endpoints.replace("e", undefined, endpoint("e"));
  assert.equal(stores.endpoints.table.size, 1);
});

interface Members {
  readonly members: readonly EtcdMember[];
  readonly urls: readonly string[];
  readonly dir: string;
  stop(): Promise<void>;
}

async function startMembers(count: number): Promise<Members> {
  const dir = mkdtempSync(join(tmpdir(), "wt-etcd-"));
  const members = await etcdMembers(count, dir);
  await Promise.all(members.map((member) => member.start()));
  return {
    members,
    urls: members.map(({ url }) => url),
    dir,
    async stop() {
      await Promise.all(members.map((member) => member.stop("SIGKILL")));
      rmSync(dir, { recursive: true });
    },
  };
}

function openStoresAt(
  endpoints: readonly string[],
  changes: { readonly leasePeriodMs?: number; readonly clock?: typeof systemClock } = {},
): Promise<Stores> {
  const signal = AbortSignal.timeout(60_000);
  const common = { prefix: "/weft/registry", leasePeriodMs: 60_000, clock: systemClock, log: silentLog, signal, timing };
  return openEtcdStores({ endpoints, ...common, ...changes });
}

function endpoint(name: string, url = "tcp://1:1", leaseSeconds = 60): NetworkServiceEndpoint {
  const seconds = Math.floor(Date.now() / 1_000) + leaseSeconds;
  return NetworkServiceEndpoint.fromPartial({ name, url, network_service_names: ["s"], expiration_time: { seconds, nanos: 0 } });
}

async function post<T>(url: string, path: string, body: object): Promise<T> {
  const answer = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
  return (await answer.json()) as T;
}

async function compact(url: string): Promise<void> {
  const { header } = await post<{ header: { revision: string } }>(url, "/v3/kv/range", {
    key: Buffer.from("x").toString("base64"),
  });
  await post(url, "/v3/kv/compaction", { revision: header.revision, physical: true });
}

function etcdctl(args: readonly string[]): void {
  execFileSync(program("etcdctl"), args, { env: { ETCDCTL_API: "3", PATH: process.env["PATH"] ?? "" }, stdio: "pipe" });
}

/** A way to etcd that can be closed. */
async function startProxy(target: string): Promise<{ url: string; refuse(now: boolean): void; stop(): Promise<void> }> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let isClosed = false;
  const server = createServer((near) => {
    if (isClosed) {
      near.destroy();
      return;
    }
    const far = connect(Number(port), hostname);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refuse(now) {
      isClosed = now;
      if (now) cut();
    },
    async stop() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}
