/** The node agent against a real API server, where it needs no node. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { clockProblem, watchClock } from "../../apps/node-agent/watch-clock.js";
import { clusterLogLevel } from "../../cli/cluster/log-level.js";
import { clusterWhy } from "../../cli/cluster/why.js";
import { createKubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import { createEventReporter } from "../../sdk/kubernetes/report-event.js";
import { connections, pathOf } from "../../sdk/kubernetes/resource.js";
import { Code } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type ApiServer, noApiServer, startApiServer } from "./rig/api-server.js";
import { installCrds } from "./rig/crds.js";
import { eventually } from "./rig/eventually.js";

const skip = noApiServer();
let server: ApiServer;
before(async () => {
  if (skip === false) server = await startApiServer();
});
after(async () => await server?.stop());

test("a node whose clock is wrong has an event that says by how much and what to do", { skip }, async (t) => {
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: "late" } };
  await server.api.call({ method: "POST", path: "/api/v1/nodes", body: node });
  const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: server.kubeconfig }));
  t.after(() => api.close());
  const stopping = new AbortController();
  let skewMs = 0;
  const watching = watchClock({
    api,
    node: "late",
    reportEvent: createEventReporter({ api, component: "weft-agent", instance: "late", log: silentLog }),
    log: silentLog,
    signal: stopping.signal,
    nowMs: () => Date.now() + skewMs,
    everyMs: 100,
  });
  const events = (): Promise<string> => server.kubectl(["get", "events", "--field-selector", "reason=ClockSkew"]);
  await eventually("an answer of the server", () => api.serverClock() !== undefined);
  assert.equal(await events(), "");
  skewMs = -600_000;
  await eventually("the event", async () => /600 s behind that of the API server.*chrony/.test(await events()));
  assert.match(await server.kubectl(["describe", "node", "late"]), /ClockSkew.*about 600 s behind/);
  stopping.abort();
  await watching;
});

test("weft cluster why says what is missing: an annotation, an agent to ask; log-level knows its levels", { skip }, async () => {
  await installCrds(server.api);
  const out = { write: () => true };
  const context = { env: {}, self: [], signal: AbortSignal.timeout(30_000), out, err: out };
  const options = { kubeconfig: server.kubeconfig };
  await assert.rejects(clusterWhy("app", options, context), {
    code: Code.NOT_FOUND,
    message: /pod default\/app asks for no network service.*annotate it/,
  });
  const spec = { pod: "app", node: "late", networkService: "web", url: "kernel://web", mode: "node" };
  const body = { apiVersion: "networkservicemesh.io/v1", kind: "Connection", metadata: { name: "app-1" }, spec };
  await server.api.call({ method: "POST", path: pathOf(connections, { namespace: "default" }), body });
  await assert.rejects(clusterWhy("default/app", options, context), {
    code: Code.NOT_FOUND,
    message: /no agent of Weft runs in namespace weft-system.*--namespace/,
  });
  assert.throws(() => clusterLogLevel("loud", options, context), {
    code: Code.INVALID_ARGUMENT,
    message: /"loud" is no log level/,
  });
});

test("a clock may be off by what network time allows, and by half a minute", () => {
  for (const ms of [0, 29_000, -29_000]) assert.equal(clockProblem(ms), undefined);
  assert.match(clockProblem(45_000) ?? "", /ahead of/);
});
