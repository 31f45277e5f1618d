import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { NetworkService } from "../../sdk/gen/registry.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { tcpProbe, tcpServer } from "../../sdk/testing/tcp.js";
import { until } from "../../sdk/testing/until.js";
import type { Domain } from "../../testing/start-domain.js";
import { interfaces, pings, startOneNode } from "./one-node.js";
import type { RunningWorkload } from "./workloads.js";

const signal = new AbortController().signal;
const blockedMs = 500;
const openMs = 10_000;
const rules = `
allow icmp: { proto: 1, srcportoricmptypelast: 65535, dstportoricmpcodelast: 65535, ispermit: 1 }
allow icmp6: { proto: 58, srcportoricmptypelast: 65535, dstportoricmpcodelast: 65535, ispermit: 1 }
allow tcp8080: { proto: 6, srcportoricmptypelast: 65535, dstportoricmpcodefirst: 8080, dstportoricmpcodelast: 8080, ispermit: 1 }
forbid tcp80: { proto: 6, srcportoricmptypelast: 65535, dstportoricmpcodefirst: 80, dstportoricmpcodelast: 80 }
`;

test("rows 2.8, 2.9, 2.10: client → firewall → responder; ping and TCP 8080 pass, TCP 80 does not", async (t) => {
  const world = await build(t);
  const { client, domain, firewall } = world;
  const addresses = ["172.16.5.0", "fd16:5::"] as const;
  for (const [index, destination] of addresses.entries()) {
    const source = ["172.16.5.1", "fd16:5::1"][index] ?? "";
    assert.ok(await pings(client, source, destination), `${source} → ${destination}`);
    await tcpServer(t, world.responder, [80, 8080], destination);
    assert.match(await tcpProbe(client, destination, 8080, openMs), /^open hello/);
    assert.equal(await tcpProbe(client, destination, 80, blockedMs), "timeout");
  }
  const report = await domain.dialer.inspect(firewall.url).getReport({ section: "counters" }, { signal });
  const dropped = report.facts.filter(({ name, value }) => name === 'rule "forbid tcp80"' && Number(value) > 0);
  assert.equal(dropped.length, 1, "counted in the direction of the client");

  const { connections } = await status(world);
  assert.match(connections[0]?.detail ?? "", /172\.16\.5\.1\/32.* → /);
  const names = interfaces(world.firewallNetns);
  assert.equal(names.length, 2, "the firewall has two interfaces");

  writeFileSync(
    world.rulesFile,
    rules.replace(
      "dstportoricmpcodefirst: 80, dstportoricmpcodelast: 80 }",
      "dstportoricmpcodefirst: 80, dstportoricmpcodelast: 80, ispermit: 1 }",
    ),
  );
  await until("the edit to work", async () => (await tcpProbe(client, "172.16.5.0", 80, blockedMs)).startsWith("open"));
});

test("row 2.10: two clients of one firewall are filtered and counted apart, and do not meet", async (t) => {
  const world = await build(t);
  const other = await world.addClient();
  // the firewall joins the wires of a client when both interfaces are there, which is a moment after the answer
  await until("the second client to reach the responder", () => pings(other, "172.16.5.3", "172.16.5.2"));
  assert.ok(await pings(world.client, "172.16.5.1", "172.16.5.0"));
  assert.equal(await pings(other, "172.16.5.3", "172.16.5.1"), false);
  const { facts } = await world.domain.dialer.inspect(world.firewall.url).getReport({ section: "counters" }, { signal });
  const echoes = facts.filter(({ name, detail }) => name === 'rule "allow icmp"' && detail.includes("from the client"));
  assert.equal(new Set(echoes.map(({ connection_id }) => connection_id)).size, 2);
  assert.ok(echoes.every(({ value }) => Number(value) > 0));
});

test("a restart of the firewall does not cut the packets off, and the rules hold on", async (t) => {
  const world = await build(t);
  await tcpServer(t, world.responder, [80], "172.16.5.0");
  assert.equal(await world.firewall.stop(), 0);
  assert.ok(await pings(world.client, "172.16.5.1", "172.16.5.0"), "nobody is there, the wire is");
  assert.equal(await tcpProbe(world.client, "172.16.5.0", 80, blockedMs), "timeout");
  let back = false;
  const starting = world.startFirewall().finally(() => {
    back = true;
  });
  for (let sent = 0; !back || sent < 20; sent++) assert.ok(await pings(world.client, "172.16.5.1", "172.16.5.0"), `ping ${sent}`);
  await starting;
  assert.ok(await pings(world.client, "172.16.5.1", "172.16.5.0"));
  assert.equal(await tcpProbe(world.client, "172.16.5.0", 80, blockedMs), "timeout");
});

test("row 2.8: the same chain with payload IP", async (t) => {
  const { client, responder } = await build(t, "IP");
  assert.ok(await pings(client, "fd16:5::1", "fd16:5::"));
  await tcpServer(t, responder, [80, 8080], "172.16.5.0");
  assert.match(await tcpProbe(client, "172.16.5.0", 8080, openMs), /^open hello/);
  assert.equal(await tcpProbe(client, "172.16.5.0", 80, blockedMs), "timeout");
});

test("row 1.30: the end of the client takes everything away, in all three namespaces", async (t) => {
  const world = await build(t);
  assert.equal(await world.clientProcess.stop(), 0);
  for (const netns of [world.client, world.firewallNetns, world.responder]) {
    await until(`${netns.name} to be empty`, () => interfaces(netns).length === 0);
  }
});

interface World {
  readonly domain: Domain;
  readonly client: TestNetns;
  readonly clientProcess: RunningWorkload;
  readonly firewallNetns: TestNetns;
  firewall: RunningWorkload;
  readonly responder: TestNetns;
  readonly rulesFile: string;
  /** A second client; its namespace. */
  addClient(): Promise<TestNetns>;
  startFirewall(): Promise<void>;
}

/** One node; the service's matches put the firewall before the responder. */
async function build(context: TestContext, payload: "ETHERNET" | "IP" = "ETHERNET"): Promise<World> {
  const t = cleanUp(context);
  const [client, firewallNetns, responder] = [temporaryNetns(t, "c"), temporaryNetns(t, "f"), temporaryNetns(t, "r")];
  const node = await startOneNode(t);
  const service = NetworkService.fromPartial({
    name: "web",
    payload,
    matches: [
      { source_selector: { app: "firewall" }, routes: [{ destination_selector: { app: "responder" } }] },
      { routes: [{ destination_selector: { app: "firewall" } }] },
    ],
  });
  await node.domain.dialer.serviceRegistry(node.domain.nodes[0].url).register(service, { signal });
  const rulesFile = join(node.folder, "rules.yaml");
  writeFileSync(rulesFile, rules);
  const pools = { NSM_CIDR_PREFIX: "172.16.5.0/24,fd16:5::/64", NSM_PAYLOAD: payload };
  await node.start("responder", "responder-1", responder, { NSM_SERVICE_NAMES: "web", NSM_LABELS: "app:responder", ...pools });
  const startFirewall = (): Promise<RunningWorkload> =>
    node.start("firewall", "firewall-1", firewallNetns, {
      NSM_SERVICE_NAME: "web",
      NSM_PAYLOAD: payload,
      NSM_LABELS: "app:firewall",
      NSM_ACL_CONFIG_PATH: rulesFile,
    });
  const firewall = await startFirewall();
  const clientProcess = await node.start("client", "client-1", client, { NSM_NETWORK_SERVICES: "kernel://web/nsm-1" });
  const world: World = {
    domain: node.domain,
    client,
    clientProcess,
    firewallNetns,
    firewall,
    responder,
    rulesFile,
    async addClient() {
      const netns = temporaryNetns(t, "c2");
      await node.start("client", "client-2", netns, { NSM_NETWORK_SERVICES: "kernel://web/nsm-1" });
      return netns;
    },
    async startFirewall() {
      world.firewall = await startFirewall();
    },
  };
  await until("the first ping", () => pings(client, "172.16.5.1", "172.16.5.0"));
  return world;
}

async function status({ domain, clientProcess }: World) {
  const { facts } = await domain.dialer.inspect(clientProcess.url).getReport({ section: "connections" }, { signal });
  return { connections: facts };
}
