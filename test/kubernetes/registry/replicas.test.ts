/** Whole registries on custom resources, over gRPC: what callers and kubectl see. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Scope, type TestRegistry, testRegistry } from "../../../registry/test-registry.js";
import { NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import { type KubernetesObject, networkServiceEndpoints, pathOf } from "../../../sdk/kubernetes/resource.js";
import { type ApiServer, noApiServer, startApiServer } from "../rig/api-server.js";
import { installCrds } from "../rig/crds.js";
import { eventually } from "../rig/eventually.js";

const skip = noApiServer();
const namespace = "nsm-system";
let server: ApiServer;
before(async () => {
  if (skip !== false) return;
  server = await startApiServer();
  await installCrds(server.api);
  await server.api.call({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: namespace } } });
});
after(async () => await server?.stop());

test("row 3.2: objects mirror calls, an edited object is what Find answers, and a watch through another replica streams it", {
  skip,
}, async (t) => {
  const [a, b] = [await registry(t), await registry(t)];
  const watching = new AbortController();
  const urls: string[] = [];
  const watch = (async () => {
    for await (const { entry, deleted } of b.endpoints.find(query(), { watch: true, signal: watching.signal })) {
      urls.push(deleted ? "gone" : entry.url);
    }
  })().catch(() => {});
  const registered = await a.endpoints.register(endpoint("e1", "tcp://10.0.0.1:5001"), a);
  const object = await server.api.call<KubernetesObject>({ path: pathOf(networkServiceEndpoints, { namespace, name: "e1" }) });
  assert.equal((object.spec as { url: string }).url, registered.url);
  await eventually("the other replica to stream it", () => urls.at(-1) === "tcp://10.0.0.1:5001");
  await server.kubectl(["patch", "nse", "e1", "-n", namespace, "--type=merge", "-p", '{"spec":{"url":"tcp://10.0.0.2:5001"}}']);
  await eventually("the edit to be streamed", () => urls.at(-1) === "tcp://10.0.0.2:5001");
  assert.deepEqual(await find(a), ["e1 tcp://10.0.0.2:5001"]);
  await b.endpoints.unregister(registered, b);
  await eventually("the end to be streamed", () => urls.at(-1) === "gone");
  watching.abort();
  await watch;
});

test("row 3.3: entries survive the end of all replicas, and are unregistered through another than they came by", {
  skip,
}, async (t) => {
  const first = await registry(t);
  const registered = await first.endpoints.register(endpoint("e2", "tcp://10.0.0.3:5001"), first);
  await first.stop();
  const [a, b] = [await registry(t), await registry(t)];
  for (const one of [a, b]) assert.deepEqual(await find(one), ["e2 tcp://10.0.0.3:5001"]);
  await b.endpoints.unregister(registered, b);
  await eventually("the other to know", async () => (await find(a)).length === 0);
  const { items } = await server.api.call<{ items: unknown[] }>({ path: pathOf(networkServiceEndpoints) });
  assert.deepEqual(items, []);
});

test("an endpoint that is not refreshed goes from the cluster when its lease ends, with several replicas too", {
  skip,
}, async (t) => {
  const [a] = [await registry(t, 2_000), await registry(t, 2_000)];
  await a.endpoints.register(endpoint("short", "tcp://10.0.0.4:5001"), a);
  await eventually("its end", async () => (await find(a)).length === 0, 15_000);
  const { items } = await server.api.call<{ items: unknown[] }>({ path: pathOf(networkServiceEndpoints) });
  assert.deepEqual(items, []);
});

function registry(scope: Scope, leasePeriodMs = 60_000): Promise<TestRegistry> {
  return testRegistry(scope, { store: "kubernetes", kubeconfig: server.kubeconfig, namespace, leasePeriodMs });
}

async function find({ endpoints, signal }: TestRegistry): Promise<string[]> {
  const found: string[] = [];
  for await (const { entry } of endpoints.find(query(), { watch: false, signal })) found.push(`${entry.name} ${entry.url}`);
  return found;
}

const query = (): NetworkServiceEndpoint => NetworkServiceEndpoint.fromPartial({ network_service_names: ["s"] });

function endpoint(name: string, url: string): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({ name, url, network_service_names: ["s"] });
}
