/** The supervised list-watch against a real API server, with a proxy between them that does harm. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { createKubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import { type ListWatch, listWatch, type Timing } from "../../sdk/kubernetes/list-watch.js";
import type { ObjectChange } from "../../sdk/kubernetes/object-cache.js";
import { configMaps, type KubernetesObject, keyOf, pathOf } from "../../sdk/kubernetes/resource.js";
import { Code } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type ApiServer, noApiServer, startApiServer } from "./rig/api-server.js";
import { eventually } from "./rig/eventually.js";
import { type Fault, type FaultProxy, startFaultProxy } from "./rig/fault-proxy.js";

const skip = noApiServer();
const timing: Partial<Timing> = { watchMs: 1_000, graceMs: 500, answerMs: 1_000, firstPauseMs: 20, maxPauseMs: 200, pageSize: 3 };
let server: ApiServer;
let proxy: FaultProxy;
let rounds = 0;

before(async () => {
  if (skip !== false) return;
  server = await startApiServer({ users: ["nobody"] });
  proxy = await startFaultProxy(server);
});
after(async () => {
  await proxy?.stop();
  await server?.stop();
});

const anyBytes = fc.integer({ min: 0, max: 3_000 });
const anyFault: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ kind: "none" } as const) },
  fc.record({ kind: fc.constant("status" as const), status: fc.constantFrom(410, 429, 500, 502, 504) }),
  fc.record({ kind: fc.constant("cut" as const), afterBytes: anyBytes }),
  fc.record({ kind: fc.constant("silence" as const), afterBytes: anyBytes }),
  fc.record({
    kind: fc.constant("errorEvent" as const),
    status: fc.constantFrom(410, 500),
    afterLines: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({ kind: fc.constant("garbage" as const), afterLines: fc.integer({ min: 1, max: 4 }) }),
);
const anyWrite = fc.record({
  name: fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
  verb: fc.constantFrom("put", "put", "delete"),
});

test("whatever happens to lists and watches, nothing is lost and each change is told once", {
  skip,
  timeout: 120_000,
}, async () => {
  const property = fc.asyncProperty(
    fc.array(anyFault, { maxLength: 12 }),
    fc.array(anyWrite, { minLength: 5, maxLength: 25 }),
    async (faults, writes) => {
      const namespace = await freshNamespace();
      const waiting = [...faults];
      proxy.faultFor = (path) => (path.includes("/configmaps") ? (waiting.shift() ?? { kind: "none" }) : { kind: "none" });
      const told = new Map<string, KubernetesObject>();
      const watch = await startWatch(namespace, ({ previous, next }) => {
        const key = keyOf((next ?? previous) as KubernetesObject);
        assert.equal(told.get(key), previous, `a change of ${key} begins where the one before ended`);
        if (next === undefined) told.delete(key);
        else told.set(key, next);
      });
      try {
        for (const { name, verb } of writes) await write(namespace, name, verb);
        const there = await contents(namespace);
        const known = () => versions([...told.values()]);
        await eventually("all changes to be told", () => same(known(), there), 30_000).catch((error: Error) => {
          throw new Error(`${error.message}\nknown ${known()}\nthere ${there}\nstate ${JSON.stringify(watch.state)}`);
        });
        assert.deepEqual(new Map(watch.objects), told);
      } finally {
        await watch.stop();
      }
    },
  );
  await fc.assert(property, { numRuns: 12, endOnFailure: true });
});

test("a connection that is open at one end only is cut off after the agreed time, and nothing is lost", { skip }, async () => {
  const namespace = await freshNamespace();
  let watches = 0;
  proxy.faultFor = (path) => {
    if (!path.includes("watch=1")) return { kind: "none" };
    return watches++ === 0 ? { kind: "silence", afterBytes: 0 } : { kind: "none" };
  };
  const watch = await startWatch(namespace);
  try {
    await eventually("the first watch", () => watch.state.live);
    await write(namespace, "missed", "put");
    await eventually("the missed object", () => watch.objects.has(`${namespace}/missed`), 10_000);
    assert.ok(watches >= 2);
  } finally {
    await watch.stop();
  }
});

test("an outage of the server leaves what is known, is told, and ends by itself; a version that is gone is listed again", {
  skip,
}, async () => {
  const namespace = await freshNamespace();
  proxy.faultFor = () => ({ kind: "none" });
  await write(namespace, "kept", "put");
  await write(namespace, "deleted", "put");
  const watch = await startWatch(namespace);
  try {
    await eventually("the watch", () => watch.state.live && watch.objects.size === 2);
    // while nobody watches, the past is thrown away: the server that comes back knows no version of before
    proxy.faultFor = () => ({ kind: "status", status: 503 });
    proxy.cutAll();
    await eventually("the outage to be seen", () => !watch.state.live);
    assert.equal(watch.state.problem?.code, Code.UNAVAILABLE);
    await write(namespace, "deleted", "delete");
    await write(namespace, "new", "put");
    await server.stopApi();
    assert.deepEqual([...watch.objects.keys()].sort(), [`${namespace}/deleted`, `${namespace}/kept`]);
    await server.startApi();
    proxy.faultFor = () => ({ kind: "none" });
    await eventually("the watch to go on", () => watch.state.live);
    await eventually("what was missed", () => [...watch.objects.keys()].sort().join() === `${namespace}/kept,${namespace}/new`);
  } finally {
    await watch.stop();
  }
});

test("a right that is missing is named, and once granted needs no restart", { skip }, async () => {
  const namespace = await freshNamespace();
  const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: server.kubeconfigOf("nobody") }));
  const watch = listWatch({ api, resource: configMaps, namespace, log: silentLog, timing });
  try {
    await eventually("the refusal", () => watch.state.problem !== undefined);
    assert.equal(watch.state.problem?.code, Code.PERMISSION_DENIED);
    assert.match(
      watch.state.problem?.details ?? "",
      /missing RBAC rule: \{apiGroups: \[""\], resources: \["configmaps"\], verbs: \["list"\]\}/,
    );
    await assert.rejects(watch.synced(AbortSignal.abort()), { code: Code.PERMISSION_DENIED });
    await grant(namespace);
    await watch.synced(AbortSignal.timeout(20_000));
  } finally {
    await watch.stop();
    api.close();
  }
});

async function startWatch(
  namespace: string,
  onChange: (change: ObjectChange<KubernetesObject>) => void = () => {},
): Promise<ListWatch<KubernetesObject>> {
  const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: server.kubeconfigAt(proxy.url) }));
  const watch = listWatch({ api, resource: configMaps, namespace, log: silentLog, timing, onChange });
  return {
    ...watch,
    get state() {
      return watch.state;
    },
    async stop() {
      await watch.stop();
      api.close();
    },
  };
}

async function freshNamespace(): Promise<string> {
  const name = `round-${++rounds}`;
  await server.api.call({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name } } });
  return name;
}

async function write(namespace: string, name: string, verb: string): Promise<void> {
  const path = pathOf(configMaps, { namespace, name });
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { text: String(Math.random()).repeat(20) } };
  if (verb === "delete") await server.api.call({ method: "DELETE", path }).catch(() => {});
  else await server.api.call({ method: "PATCH", path, query: { fieldManager: "test", force: true }, patch: "apply", body });
}

async function contents(namespace: string): Promise<string> {
  const { items } = await server.api.call<{ items: KubernetesObject[] }>({ path: pathOf(configMaps, { namespace }) });
  return versions(items);
}

function versions(objects: readonly KubernetesObject[]): string {
  return objects
    .map(({ metadata: { name, resourceVersion } }) => `${name}@${resourceVersion}`)
    .sort()
    .join(" ");
}

const same = (a: string, b: string): boolean => a === b;

async function grant(namespace: string): Promise<void> {
  const group = "/apis/rbac.authorization.k8s.io/v1";
  const role = {
    metadata: { name: "reader" },
    rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["list", "watch"] }],
  };
  await server.api.call({ method: "POST", path: `${group}/namespaces/${namespace}/roles`, body: role });
  const binding = {
    metadata: { name: "reader" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "reader" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "nobody" }],
  };
  await server.api.call({ method: "POST", path: `${group}/namespaces/${namespace}/rolebindings`, body: binding });
}
