/** The registry on custom resources: replicas, objects written by hand, outages, rights. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { staleHeader } from "../../../registry/mark-stale.js";
import { openKubernetesStores } from "../../../registry/store/kubernetes/stores.js";
import type { Stores } from "../../../registry/store/store.js";
import { systemClock } from "../../../sdk/clock.js";
import { NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import { findApiConnection } from "../../../sdk/kubernetes/connection.js";
import { type KubernetesObject, networkServiceEndpoints, networkServices, pathOf } from "../../../sdk/kubernetes/resource.js";
import { Code } from "../../../sdk/status.js";
import { type Log, silentLog } from "../../../sdk/telemetry/log.js";
import { timestampOf } from "../../../sdk/timestamp.js";
import { type ApiServer, noApiServer, startApiServer } from "../rig/api-server.js";
import { installCrds } from "../rig/crds.js";
import { eventually } from "../rig/eventually.js";
import { createMemoryLog } from "../rig/memory-log.js";

const skip = noApiServer();
let server: ApiServer;
before(async () => {
  if (skip !== false) return;
  server = await startApiServer({ users: ["nobody"] });
  await installCrds(server.api);
  for (const name of ["nsm-system", "team-a", "team-b"]) {
    await server.api.call({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name } } });
  }
});
after(async () => await server?.stop());

test("two replicas are one registry: what one writes the other has, and of two writers one wins", { skip }, async (t) => {
  const [a, b] = [await replica(t), await replica(t)];
  await a.endpoints.replace("e1", undefined, endpoint("e1", "tcp://10.0.0.1:1"));
  const seen = await eventually("the other replica to see it", () => b.endpoints.table.get("e1"));
  assert.equal(seen.url, "tcp://10.0.0.1:1");
  const results = await Promise.allSettled([
    a.endpoints.replace("e1", a.endpoints.table.get("e1"), endpoint("e1", "tcp://10.0.0.2:1")),
    b.endpoints.replace("e1", b.endpoints.table.get("e1"), endpoint("e1", "tcp://10.0.0.3:1")),
  ]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const reasons = results.flatMap((one) => (one.status === "rejected" ? [one.reason as { code?: number }] : []));
  assert.deepEqual(
    reasons.map(({ code }) => code),
    [Code.ABORTED],
  );
  await eventually("both to agree", () => a.endpoints.table.get("e1")?.url === b.endpoints.table.get("e1")?.url);
  await b.endpoints.replace("e1", b.endpoints.table.get("e1"), undefined);
  await eventually("the other to see it gone", () => a.endpoints.table.get("e1") === undefined);
  const { items } = await server.api.call<{ items: unknown[] }>({ path: pathOf(networkServiceEndpoints) });
  assert.deepEqual(items, []);
});

test("objects are stored as NSM stores them, and NSM's YAML is read unchanged", { skip }, async (t) => {
  const stores = await replica(t);
  const full = NetworkServiceEndpoint.fromPartial({
    ...endpoint("nse-1", "tcp://[fd00::1]:5001"),
    network_service_labels: { s: { labels: { app: "fw" } } },
    path_ids: ["spiffe://a"],
  });
  await stores.endpoints.replace("nse-1", undefined, full);
  const stored = await server.api.call<KubernetesObject>({
    path: pathOf(networkServiceEndpoints, { namespace: "nsm-system", name: "nse-1" }),
  });
  assert.deepEqual(stored.spec, {
    name: "nse-1",
    network_service_names: ["s"],
    network_service_labels: { s: { labels: { app: "fw" } } },
    url: "tcp://[fd00::1]:5001",
    expiration_time: { seconds: full.expiration_time?.seconds },
    path_ids: ["spiffe://a"],
  });
  await apply(upstreamYaml);
  const service = await eventually("the service written by hand", () => stores.services.table.get("firewall-chain"));
  assert.deepEqual(service.matches, [
    {
      source_selector: { app: "firewall" },
      routes: [{ destination_selector: { app: "gateway", node: "{{.nodeName}}" }, weight: 0 }],
      fallthrough: true,
      metadata: undefined,
    },
    {
      source_selector: {},
      routes: [{ destination_selector: {}, weight: 2 }],
      fallthrough: false,
      metadata: { labels: { p2p: "true" } },
    },
  ]);
  const columns = await server.kubectl(["get", "netsvc", "-n", "team-a"]);
  assert.match(columns, /NAME +PAYLOAD +ENDPOINTS +ACCEPTED +AGE/);
  await stores.endpoints.replace("nse-1", stores.endpoints.table.get("nse-1"), undefined);
});

test("a service tells on itself how many endpoints offer it", { skip }, async (t) => {
  const stores = await replica(t);
  await apply(serviceYaml("counted", "team-a", "payload: IP"));
  await stores.endpoints.replace("c1", undefined, endpoint("c1", "tcp://10.0.0.1:1", "counted"));
  await eventually("one endpoint", async () => (await statusOf("counted", "team-a")).endpoints === 1);
  await stores.endpoints.replace("c1", stores.endpoints.table.get("c1"), undefined);
  await eventually("none", async () => (await statusOf("counted", "team-a")).endpoints === 0);
  assert.equal((await accepted("counted", "team-a"))?.status, "True");
});

test("an object edited by hand into nonsense keeps what it said before, with a condition and an event that say why", {
  skip,
}, async (t) => {
  const stores = await replica(t);
  await apply(serviceYaml("edited", "team-a", "payload: IP"));
  await eventually("the service", () => stores.services.table.get("edited"));
  // the schema refuses wrong types at once, and says where
  await assert.rejects(apply(serviceYaml("edited", "team-a", "payload: [1]")), /spec\.payload/);
  await assert.rejects(apply(serviceYaml("edited", "team-a", "matches: [{routes: [{weight: -1}]}]")), /weight/);
  // what it cannot see, the registry tells
  await apply(serviceYaml("edited", "team-a", 'name: "a\\tb"'));
  const condition = await eventually("the condition", async () => {
    const found = await accepted("edited", "team-a");
    return found?.status === "False" && found;
  });
  assert.match(condition.message ?? "", /control characters; correct it; until then what it said before counts/);
  assert.equal(stores.services.table.get("edited")?.payload, "IP");
  const events = await server.kubectl(["get", "events", "-n", "team-a", "--field-selector", "involvedObject.name=edited"]);
  assert.match(events, /Warning +Invalid .*control characters/);
  await apply(serviceYaml("edited", "team-a", "payload: ETHERNET"));
  await eventually("the correction", () => stores.services.table.get("edited")?.payload === "ETHERNET");
  await eventually("the condition to follow", async () => (await accepted("edited", "team-a"))?.status === "True");
});

test("of two objects of one name in two namespaces the older counts, the other says so, and takes over", { skip }, async (t) => {
  const stores = await replica(t);
  await apply(serviceYaml("twice", "team-b", "payload: IP"));
  await eventually("the first", () => stores.services.table.get("twice")?.payload === "IP");
  // creation times have seconds
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await apply(serviceYaml("twice", "team-a", "payload: ETHERNET"));
  const condition = await eventually("the condition", async () => {
    const found = await accepted("twice", "team-a");
    return found?.status === "False" && found;
  });
  assert.equal(condition.reason, "NameTaken");
  assert.match(condition.message ?? "", /already used by networkservices\/twice in namespace team-b/);
  assert.equal(stores.services.table.get("twice")?.payload, "IP");
  await server.kubectl(["delete", "netsvc", "twice", "-n", "team-b"]);
  await eventually("the other to take over", () => stores.services.table.get("twice")?.payload === "ETHERNET");
  await eventually("its condition", async () => (await accepted("twice", "team-a"))?.status === "True");
});

test("without rights the log names the rule, and the store opens once it is granted", { skip }, async (t) => {
  const { log, lines } = createMemoryLog();
  const opening = replica(t, { user: "nobody", log });
  await eventually("the rule", () =>
    lines().some((line) => line.includes('resources: [\\"networkservices\\"], verbs: [\\"list\\"]')),
  );
  const rules = [{ apiGroups: ["networkservicemesh.io"], resources: ["*"], verbs: ["*"] }];
  const group = "/apis/rbac.authorization.k8s.io/v1";
  await server.api.call({ method: "POST", path: `${group}/clusterroles`, body: { metadata: { name: "r" }, rules } });
  const subjects = [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "nobody" }];
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "r" };
  await server.api.call({
    method: "POST",
    path: `${group}/clusterrolebindings`,
    body: { metadata: { name: "r" }, roleRef, subjects },
  });
  const stores = await opening;
  await stores.endpoints.replace("granted", undefined, endpoint("granted", "tcp://1:1"));
  await stores.endpoints.replace("granted", stores.endpoints.table.get("granted"), undefined);
});

test("while the API server is away answers come from memory and say so, a refresh is taken, and no lease ends", {
  skip,
}, async (t) => {
  const stores = await replica(t);
  const entry = endpoint("kept", "tcp://10.0.0.9:1");
  await stores.endpoints.replace("kept", undefined, entry);
  assert.equal(stores.staleness?.(), undefined);
  await server.stopApi();
  await eventually("the outage to be noticed", () => stores.staleness?.() !== undefined);
  assert.match(stores.staleness?.()?.why ?? "", /gives no answer/);
  assert.equal(stores.endpoints.table.get("kept")?.url, "tcp://10.0.0.9:1");
  const before = stores.endpoints.table.get("kept");
  await stores.endpoints.replace("kept", before, { ...entry, expiration_time: timestampOf(Date.now() - 1_000) });
  await assert.rejects(stores.endpoints.replace("kept", stores.endpoints.table.get("kept"), undefined), {
    code: Code.UNAVAILABLE,
  });
  await assert.rejects(stores.endpoints.replace("new", undefined, endpoint("new", "tcp://1:1")), { code: Code.UNAVAILABLE });
  await server.startApi();
  await eventually("the watch to go on", () => stores.staleness?.() === undefined);
  const after = stores.endpoints.table.get("kept");
  assert.ok((after?.expiration_time?.seconds ?? 0) > Date.now() / 1_000 + 30, "a whole lease again");
  await stores.endpoints.replace("new", undefined, endpoint("new", "tcp://1:1"));
  assert.equal(staleHeader, "weft-stale-since");
});

const upstreamYaml = `
apiVersion: networkservicemesh.io/v1
kind: NetworkService
metadata: {name: firewall-chain, namespace: team-a}
spec:
  payload: ETHERNET
  matches:
    - source_selector: {app: firewall}
      fallthrough: true
      routes:
        - destination_selector: {app: gateway, node: "{{.nodeName}}"}
    - source_selector:
      metadata: {labels: {p2p: "true"}}
      routes:
        - {destination_selector: , weight: 2}
`;

function serviceYaml(name: string, namespace: string, spec: string): string {
  return `apiVersion: networkservicemesh.io/v1\nkind: NetworkService\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec:\n  ${spec}\n`;
}

const apply = (yaml: string): Promise<string> => server.kubectl(["apply", "-f", "-"], yaml);

interface Status {
  readonly endpoints?: number;
  readonly conditions?: readonly { type: string; status: string; reason?: string; message?: string }[];
}

async function statusOf(name: string, namespace: string): Promise<Status> {
  const { status } = await server.api.call<KubernetesObject>({ path: pathOf(networkServices, { namespace, name }) });
  return (status ?? {}) as Status;
}

async function accepted(name: string, namespace: string) {
  return (await statusOf(name, namespace)).conditions?.find(({ type }) => type === "Accepted");
}

function endpoint(name: string, url: string, service = "s"): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    url,
    network_service_names: [service],
    expiration_time: { seconds: Math.floor(Date.now() / 1_000) + 60, nanos: 0 },
  });
}

async function replica(
  t: { after(end: () => Promise<void>): void },
  options: { readonly user?: string; readonly log?: Log } = {},
): Promise<Stores> {
  const kubeconfig = options.user === undefined ? server.kubeconfig : server.kubeconfigOf(options.user);
  const stores = await openKubernetesStores({
    connection: await findApiConnection({ env: {}, kubeconfig }),
    name: "registry-0",
    namespace: "nsm-system",
    leasePeriodMs: 60_000,
    clock: systemClock,
    log: options.log ?? silentLog,
    signal: AbortSignal.timeout(60_000),
  });
  t.after(() => stores.close());
  return stores;
}
