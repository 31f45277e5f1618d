import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { Connection } from "../../sdk/gen/connection.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { deleteLink, getLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { spawnInNetns } from "../../sdk/linux/netns.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { tcpProbe, tcpServer } from "../../sdk/testing/tcp.js";
import { until } from "../../sdk/testing/until.js";
import { createNft, type Nft } from "../nft.js";
import { followRules } from "./follow-rules.js";
import { type JoinedWires, joinWires } from "./join-wires.js";
import { createPacketFilter, type PacketFilter } from "./packet-filter.js";
import { parseRules } from "./parse-rules.js";

const signal = new AbortController().signal;
const blockedMs = 400;
const openMs = 10_000;

test("row 2.10: tuples are permitted and denied as the file says, for IPv4 and IPv6, and counted", async (t) => {
  const world = await build(t);
  const { filter, client } = world;
  await filter.setRules(
    parseRules(`
- { name: ping, action: permit, proto: icmp }
- { name: ping6, action: permit, proto: icmpv6 }
- { name: no web, action: deny, proto: tcp, dstport: 80 }
- { name: alt web, action: permit, proto: tcp, dstport: 8080 }
`).rules,
  );
  world.join();
  await until("the filter", () => ping(client, "10.1.0.1", "10.1.0.2"));
  assert.ok(await ping(client, "fd01::1", "fd01::2"));
  await tcpServer(t, world.server, [80, 8080, 9090]);
  assert.equal(await tcpProbe(client, "10.1.0.2", 8080, openMs), "open hello ::ffff:10.1.0.1");
  assert.equal(await tcpProbe(client, "fd01::2", 8080, openMs), "open hello fd01::1");
  assert.equal(await tcpProbe(client, "10.1.0.2", 80, blockedMs), "timeout");
  assert.equal(await tcpProbe(client, "10.1.0.2", 9090, blockedMs), "timeout");
  const facts = await filter.report();
  const count = (name: string): number =>
    facts.filter((fact) => fact.name === name).reduce((sum, { value }) => sum + Number(value), 0);
  assert.ok(count('rule "alt web"') >= 8, "packets of two TCP connections, both ways");
  assert.ok(count('rule "no web"') >= 1);
  assert.ok(count("drop: no rule permits it") >= 1);
  assert.ok(facts.every(({ connection_id, section }) => connection_id === "c1" && section === "counters"));
});

test("row 2.10: reflect lets answers in and nothing else, for TCP and for ping", async (t) => {
  const world = await build(t);
  const { filter, client, server } = world;
  await filter.setRules(
    parseRules(`
- { name: out, action: reflect, proto: tcp, dstport: 8080 }
- { name: ping, action: reflect, proto: icmp }
- { name: ping6, action: reflect, proto: icmpv6 }
`).rules,
  );
  world.join();
  await until("the filter", () => ping(client, "10.1.0.1", "10.1.0.2"));
  assert.ok(await ping(client, "fd01::1", "fd01::2"));
  assert.equal(await ping(server, "10.1.0.2", "10.1.0.1", blockedMs), false);
  await tcpServer(t, server, [8080]);
  await tcpServer(t, client, [8080]);
  assert.match(await tcpProbe(client, "10.1.0.2", 8080, openMs), /^open/);
  assert.equal(await tcpProbe(server, "10.1.0.1", 8080, blockedMs), "timeout");
});

test("without rules everything passes; without the filter nothing", async (t) => {
  const world = await build(t);
  assert.equal(await ping(world.client, "10.1.0.1", "10.1.0.2", blockedMs), false);
  world.join();
  await until("the filter", () => ping(world.client, "10.1.0.1", "10.1.0.2"));
  assert.deepEqual(await world.filter.report(), []);
});

test("the file is edited live; a bad file keeps the old rules and says why; counters go on", async (t) => {
  const world = await build(t);
  const { filter, client } = world;
  const file = join(temporaryFolder(t), "rules.yaml");
  const open = "- { name: ping, action: permit, proto: icmp }\n";
  writeFileSync(file, open);
  const followed = await followRules(file, filter, silentLog);
  t.after(() => followed.stop());
  world.join();
  await until("the filter", () => ping(client, "10.1.0.1", "10.1.0.2"));
  await tcpServer(t, world.server, [8080]);
  assert.equal(await tcpProbe(client, "10.1.0.2", 8080, blockedMs), "timeout");

  const state = (): string | undefined => followed.report()[0]?.value;
  writeFileSync(file, "- { name: ping, action: nonsense }\n");
  await until("the refusal", () => state() === "refused");
  assert.match(followed.report()[0]?.detail ?? "", /1 earlier rules stay in force: .*nonsense/);
  assert.ok(await ping(client, "10.1.0.1", "10.1.0.2"));

  const before = await pings(filter);
  writeFileSync(file, `- { name: web, action: permit, proto: tcp, dstport: 8080 }\n${open}`);
  await until("the new rules", () => state() === "in force");
  assert.match(await tcpProbe(client, "10.1.0.2", 8080, openMs), /^open/);
  assert.ok((await pings(filter)) >= before, "counting goes on");
  rmSync(file);
  await until("the refusal", () => state() === "refused");
  assert.match(await tcpProbe(client, "10.1.0.2", 8080, openMs), /^open/);
});

test("an interface that is made anew gets the filter again; a closed connection leaves no table", async (t) => {
  const world = await build(t);
  world.join();
  await until("the filter", () => ping(world.client, "10.1.0.1", "10.1.0.2"));
  const socket = openNetlinkSocket(world.server);
  socket.perform([deleteLink(getLink(socket, "s0")?.index ?? 0)]);
  socket.close();
  assert.equal(await ping(world.client, "10.1.0.1", "10.1.0.2", blockedMs), false);
  joinServer(world.server, world.firewall);
  await until("the filter again", () => ping(world.client, "10.1.0.1", "10.1.0.2"));
  world.closed.abort();
  await until("the end of the table", async () => !(await world.nft("list tables\n")).includes("weft-"));
});

test("a restart takes over what it finds: packets pass throughout, and tables without interfaces go", async (t) => {
  const world = await build(t);
  await world.filter.setRules(parseRules("- { name: ping, action: permit, proto: icmp }").rules);
  world.join();
  await until("the filter", () => ping(world.client, "10.1.0.1", "10.1.0.2"));
  await world.wires.stop();
  assert.ok(await ping(world.client, "10.1.0.1", "10.1.0.2"));
  await world.nft("add table netdev weft-stale\nadd chain netdev weft-stale request\n");
  const again = await createPacketFilter(world.nft);
  assert.ok(!(await world.nft("list tables\n")).includes("stale"));
  assert.ok(await ping(world.client, "10.1.0.1", "10.1.0.2"));
  await again.connect("c1", "in0", "out0");
  assert.ok(await ping(world.client, "10.1.0.1", "10.1.0.2"));
  await again.setRules(parseRules("- { name: other, action: permit, proto: udp }").rules);
  assert.equal(await ping(world.client, "10.1.0.1", "10.1.0.2", blockedMs), false, "new rules hold for old tables too");
  assert.equal((await world.nft("list tables\n")).match(/weft-/g)?.length, 1);
});

test("nft accepts every rule that the file can say", async (t) => {
  const world = await build(t);
  await world.filter.connect("c1", "in0", "out0");
  const number = fc.nat(65535);
  const range = fc.tuple(number, number).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`);
  const prefix = fc.constantFrom("10.0.0.0/8", "0.0.0.0/0", "192.0.2.1", "fd00::/8", "::/0", "2001:db8::1/128");
  const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
  const rule = fc.record({
    action: fc.constantFrom("permit", "deny", "reflect"),
    proto: fc.constantFrom("any", "tcp", "udp", "sctp", "icmp", "icmpv6", "47"),
    from: optional(prefix),
    to: optional(prefix),
    srcport: optional(range),
    dstport: optional(fc.oneof(range, number)),
    icmptype: optional(fc.nat(255)),
    icmpcode: optional(fc.nat(255)),
  });
  const upstream = fc.record({
    ispermit: fc.nat(2),
    proto: fc.constantFrom(0, 1, 6, 17, 47, 58),
    srcportoricmptypelast: fc.constantFrom(0, 8, 65535),
    dstportoricmpcodefirst: fc.constantFrom(0, 80),
    dstportoricmpcodelast: fc.constantFrom(80, 65535),
    tcpflagsmask: fc.nat(255),
    tcpflagsvalue: fc.nat(255),
  });
  const file = fc.oneof(
    fc.array(rule, { maxLength: 8 }),
    fc
      .array(upstream, { maxLength: 8 })
      .map((rules) => Object.fromEntries(rules.map((value, index) => [`rule ${index}`, value]))),
  );
  await fc.assert(
    fc.asyncProperty(file, async (content) => {
      let parsed: ReturnType<typeof parseRules>;
      try {
        parsed = parseRules(JSON.stringify(content));
      } catch {
        return; // a contradiction, which is the parser's to refuse
      }
      await world.filter.setRules(parsed.rules);
    }),
    { numRuns: 60 },
  );
});

interface World {
  readonly client: TestNetns;
  readonly firewall: TestNetns;
  readonly server: TestNetns;
  readonly nft: Nft;
  readonly filter: PacketFilter;
  readonly wires: JoinedWires;
  readonly closed: AbortController;
  join(): void;
}

/** client c0 — in0 firewall out0 — s0 server, with addresses at both ends only. */
async function build(context: TestContext): Promise<World> {
  const t = cleanUp(context);
  const [client, firewall, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "f"), temporaryNetns(t, "s")];
  joinNetns({ netns: client, name: "c0", addresses: ["10.1.0.1/24", "fd01::1/64"] }, { netns: firewall, name: "in0" });
  joinServer(server, firewall);
  const nft = createNft((command, args, options) => spawnInNetns(firewall, command, args, options));
  const filter = await createPacketFilter(nft);
  const wires = joinWires({ netns: firewall, filter, log: silentLog });
  t.after(() => wires.stop());
  const closed = new AbortController();
  const connection = Connection.fromPartial({ id: "c1" });
  const wire = { inInterface: "in0", outInterface: "out0", inSocket: "", outSocket: "", connection, closed: closed.signal };
  return { client, firewall, server, nft, filter, wires, closed, join: () => wires.join(wire) };
}

function joinServer(server: TestNetns, firewall: TestNetns): void {
  joinNetns(
    { netns: server, name: "s0", addresses: ["10.1.0.2/24", "fd01::2/64"], macAddress: "02:00:00:00:00:02" },
    { netns: firewall, name: "out0" },
  );
}

async function ping(netns: TestNetns, source: string, destination: string, timeoutMs = 1_000): Promise<boolean> {
  return (await icmpEcho({ netnsUrl: netns.url, source, destination, timeoutMs, signal })) !== undefined;
}

async function pings(filter: PacketFilter): Promise<number> {
  const facts = await filter.report();
  return Number(facts.find(({ name }) => name === 'rule "ping"')?.value);
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "wt-firewall-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
