import assert from "node:assert/strict";
import { test } from "node:test";
import { run as runClient } from "../../apps/client/main.js";
import type { ServedConnection } from "../../sdk/endpoint/tell-owner.js";
import { deleteLink, getLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { interfaces, pings, startOneNode } from "./one-node.js";

const pools = "172.16.9.0/24,fd16:9::/64";

test("rows 1.26, 1.27, 4.5, 4.8: two services, one interface each, labels, no common address, both families", async (context) => {
  const t = cleanUp(context);
  const [client, one, two] = [temporaryNetns(t, "c"), temporaryNetns(t, "e1"), temporaryNetns(t, "e2")];
  const node = await startOneNode(t);
  await node.start("responder", "nse-1", one, { NSM_SERVICE_NAMES: "one", NSM_CIDR_PREFIX: pools });
  const told: ServedConnection[] = [];
  const endpoint = await node.domain.nodes[0].serve({
    name: "nse-2",
    services: ["two"],
    cidrs: pools.split(","),
    netns: two.url,
    onConnection: (served) => void told.push(served),
    signal: new AbortController().signal,
  });
  t.after(() => endpoint.close());
  await node.start("client", "pod-1", client, {
    NSM_NETWORK_SERVICES: "kernel://one/nsm-1,kernel://two/nsm-2?color=red&app=url",
    NSM_LABELS: "app:env,tier:front",
    POD_NAME: "pod-1",
  });
  assert.deepEqual(interfaces(client), ["nsm-1", "nsm-2"]);
  const { labels, id, path } = told[0]?.connection ?? assert.fail();
  assert.equal(labels["color"], "red");
  assert.equal(labels["app"], "url");
  assert.equal(labels["tier"], "front");
  assert.equal(labels["podName"], "pod-1");
  assert.equal(path?.path_segments[0]?.id, "pod-1-1");
  assert.notEqual(id, "");
  for (const [source, destination] of [
    ["172.16.9.1", "172.16.9.0"],
    ["fd16:9::1", "fd16:9::"],
    ["172.16.9.3", "172.16.9.2"],
    ["fd16:9::3", "fd16:9::2"],
  ] as const) {
    assert.ok(await pings(client, source, destination), `${source} → ${destination}`);
  }
});

test("rows 1.26, 4.5: one service heals while the other goes on, and leaves out the other's addresses", async (context) => {
  const t = cleanUp(context);
  const [client, one, two, spare] = [
    temporaryNetns(t, "c"),
    temporaryNetns(t, "e1"),
    temporaryNetns(t, "e2"),
    temporaryNetns(t, "e3"),
  ];
  const node = await startOneNode(t);
  await node.start("responder", "nse-1", one, { NSM_SERVICE_NAMES: "one", NSM_CIDR_PREFIX: "172.16.1.0/24" });
  const first = await node.start("responder", "nse-2", two, {
    NSM_SERVICE_NAMES: "two",
    NSM_CIDR_PREFIX: "172.16.2.0/24",
    NSM_UNREGISTER_ITSELF: "true",
  });
  await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://one/nsm-1,kernel://two/nsm-2" });
  assert.ok(await pings(client, "172.16.2.1", "172.16.2.0"));
  let healed = false;
  const watching = (async () => {
    while (!healed) assert.ok(await pings(client, "172.16.1.1", "172.16.1.0"), "the other service is not touched");
  })();
  await node.start("responder", "nse-3", spare, { NSM_SERVICE_NAMES: "two", NSM_CIDR_PREFIX: "172.16.1.0/24" });
  await first.stop();
  // As when its pod goes: the packets find nobody any more.
  const socket = openNetlinkSocket(two);
  const name = interfaces(two)[0];
  if (name !== undefined) socket.perform([deleteLink(getLink(socket, name)?.index ?? 0)]);
  socket.close();
  await until("the new endpoint", () => pings(client, "172.16.1.3", "172.16.1.2"), 60_000);
  healed = true;
  await watching;
});

test("a service that is not there yet does not keep the others waiting, and still gets other addresses", async (context) => {
  const t = cleanUp(context);
  const [client, one, two] = [temporaryNetns(t, "c"), temporaryNetns(t, "e1"), temporaryNetns(t, "e2")];
  const node = await startOneNode(t);
  const env = { NSM_CIDR_PREFIX: "172.16.1.0/24" };
  await node.start("responder", "nse-2", two, { NSM_SERVICE_NAMES: "two", ...env });
  const starting = node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://one/nsm-1,kernel://two/nsm-2" });
  await until("the second service", () => pings(client, "172.16.1.1", "172.16.1.0"), 20_000);
  await node.start("responder", "nse-1", one, { NSM_SERVICE_NAMES: "one", ...env });
  await starting;
  assert.ok(await pings(client, "172.16.1.3", "172.16.1.2"));
});

test("row 9.5: the init container exits when all is connected; the sidecar takes the connection over", async (context) => {
  const t = cleanUp(context);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "e")];
  const node = await startOneNode(t);
  const env = { ...node.common, NSM_NAME: "pod-1", NSM_NETWORK_SERVICES: "kernel://late/nsm-1", WEFT_NETNS: client.url };
  // It waits: the service is not there yet.
  const init = runClient({ argv: ["--init"], env, signal: new AbortController().signal });
  await node.start("responder", "nse-1", server, { NSM_SERVICE_NAMES: "late", NSM_CIDR_PREFIX: "172.16.4.0/24" });
  assert.equal(await init, 0);
  assert.deepEqual(interfaces(client), ["nsm-1"]);
  assert.ok(await pings(client, "172.16.4.1", "172.16.4.0"));
  const sidecar = await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://late/nsm-1" });
  assert.ok(await pings(client, "172.16.4.1", "172.16.4.0"), "the same address");
  const { facts } = await node.domain.dialer
    .inspect(sidecar.url)
    .getReport({ section: "connections" }, { signal: AbortSignal.timeout(5_000) });
  assert.match(facts[0]?.detail ?? "", /^172\.16\.4\.1\/32 → nse-1$/);
  await sidecar.stop();
  await until("the end of the interface", () => interfaces(client).length === 0);
});

test("a client that cannot be understood says everything that is wrong and exits 2", async (context) => {
  const errors: string[] = [];
  context.mock.method(process.stderr, "write", (text: string) => errors.push(text) > 0);
  const env = { WEFT_INSECURE: "true", NSM_NETWORK_SERVICES: "kernel:/one", NSM_REQUEST_TIMEOUT: "soon" };
  assert.equal(await runClient({ argv: [], env, signal: new AbortController().signal }), 2);
  context.mock.restoreAll();
  assert.match(errors.join(""), /NSM_NETWORK_SERVICES: .*NSM_REQUEST_TIMEOUT: /s);
});
