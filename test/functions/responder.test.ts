import assert from "node:assert/strict";
import { test } from "node:test";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { pings, startOneNode } from "./one-node.js";

test("rows 1.32, 2.15: a responder nobody uses any more exits 0 and its entry goes", async (context) => {
  const t = cleanUp(context);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "e")];
  const node = await startOneNode(t);
  const responder = await node.start("responder", "nse-1", server, {
    NSM_SERVICE_NAMES: "idle",
    NSM_CIDR_PREFIX: "172.16.6.0/24",
    NSM_IDLE_TIMEOUT: "3s",
    NSM_UNREGISTER_ITSELF: "true",
  });
  const pod = await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://idle/nsm-1" });
  assert.ok(await pings(client, "172.16.6.1", "172.16.6.0"));
  await pod.stop();
  assert.equal(await responder.exited, 0);
  const registry = node.domain.dialer.endpointRegistry(node.domain.nodes[0].url);
  const query = NetworkServiceEndpoint.fromPartial({ network_service_names: ["idle"] });
  for await (const found of registry.find(query, { watch: false, signal: AbortSignal.timeout(5_000) })) {
    assert.fail(`${found.entry.name} is still registered`);
  }
});

test("an endpoint that leaves for good sends its clients to another one first", async (context) => {
  const t = cleanUp(context);
  const [client, one, two] = [temporaryNetns(t, "c"), temporaryNetns(t, "e1"), temporaryNetns(t, "e2")];
  const node = await startOneNode(t);
  const env = { NSM_SERVICE_NAMES: "svc", NSM_UNREGISTER_ITSELF: "true" };
  const first = await node.start("responder", "nse-1", one, { ...env, NSM_CIDR_PREFIX: "172.16.1.0/24" });
  await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://svc/nsm-1" });
  assert.ok(await pings(client, "172.16.1.1", "172.16.1.0"));
  await node.start("responder", "nse-2", two, { ...env, NSM_CIDR_PREFIX: "172.16.2.0/24" });
  assert.equal(await first.stop(), 0);
  await until("the other endpoint", () => pings(client, "172.16.2.1", "172.16.2.0"), 5_000);
  assert.equal(await pings(client, "172.16.1.1", "172.16.1.0"), false);
});

test("row 4.1: a responder that is restarted in its namespace is waited for: same addresses, no ping lost", async (context) => {
  const t = cleanUp(context);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "e")];
  const node = await startOneNode(t);
  const env = { NSM_SERVICE_NAMES: "svc", NSM_CIDR_PREFIX: "172.16.1.0/24" };
  const first = await node.start("responder", "nse-1", server, env);
  await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://svc/nsm-1" });
  let done = false;
  let sent = 0;
  const watching = (async () => {
    while (!done) assert.ok(await pings(client, "172.16.1.1", "172.16.1.0"), `ping ${sent++}`);
  })();
  assert.equal(await first.stop(), 0);
  await node.start("responder", "nse-1", server, env);
  const newcomer = temporaryNetns(t, "n");
  await node.start("client", "pod-2", newcomer, { NSM_NETWORK_SERVICES: "kernel://svc/nsm-1" });
  assert.ok(await pings(newcomer, "172.16.1.3", "172.16.1.2"), "a newcomer is given other addresses");
  done = true;
  await watching;
  assert.ok(sent > 10);
});
