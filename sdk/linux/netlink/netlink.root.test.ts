import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { AF_INET, AF_INET6 } from "../libc.js";
import { type openNetns, openNewNetns } from "../netns.js";
import { addAddress, deleteAddress, listAddresses } from "./addresses.js";
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from "./ip-address.js";
import { type LinkEventHandlers, watchLinks } from "./link-events.js";
import * as links from "./links.js";
import { randomMac } from "./mac-address.js";
import { namespaceId } from "./namespace-ids.js";
import { deleteNeighbor, listNeighbors, setNeighbor } from "./neighbors.js";
import { addRoute, deleteRoute, listRoutes, mainTable, type Route, weftProtocol } from "./routes.js";
import { addRule, deleteRule, listRules, type Rule } from "./rules.js";
import { type NetlinkSocket, openNetlinkSocket } from "./socket.js";

test("a veth pair is made in two namespaces at once, changed in place and deleted", async (t) => {
  const { a, b, end } = twoNamespaces(t);
  const [macA, macB] = [randomMac(), randomMac()];
  a.socket.perform([
    links.createVeth(
      { ...end(a), name: "one", macAddress: macA, mtuBytes: 1400 },
      { ...end(b), name: "two", macAddress: macB, mtuBytes: 1300 },
    ),
  ]);
  const one = links.getLink(a.socket, "one");
  const two = links.getLink(b.socket, "two");
  assert.ok(one && two);
  assert.deepEqual([one.kind, one.macAddress, one.mtuBytes, one.up], ["veth", macA, 1400, false]);
  assert.deepEqual([two.kind, two.macAddress, two.mtuBytes, two.up], ["veth", macB, 1300, false]);
  assert.deepEqual([one.peerIndex, two.peerIndex], [two.index, one.index]);

  b.socket.perform([links.setLink(two.index, { up: true })]);
  const changed = randomMac();
  a.socket.perform([links.setLink(one.index, { alias: "server-ä", macAddress: changed, mtuBytes: 1280, up: true, group: 7 })]);
  const after = links.getLink(a.socket, one.index);
  assert.deepEqual(
    [after?.alias, after?.macAddress, after?.mtuBytes, after?.up, after?.carrier],
    ["server-ä", changed, 1280, true, true],
  );
  assert.ok(after?.statistics);

  await a.socket.performOnThread([links.deleteLink(one.index)]);
  assert.equal(links.getLink(b.socket, "two"), undefined);
  a.socket.perform([]);
  await a.socket.performOnThread([links.deleteLink(one.index)]);
});

test("links of a group are deleted together and no others", async (t) => {
  const { a, b, end } = twoNamespaces(t);
  for (let index = 0; index < 20; index++) {
    a.socket.perform([links.createVeth({ ...end(a), name: `a${index}` }, { ...end(b), name: `b${index}` })]);
    if (index !== 7) a.socket.perform([links.setLink(links.getLink(a.socket, `a${index}`)?.index ?? 0, { group: 4711 })]);
  }
  await a.socket.performOnThread([links.deleteLinkGroup(4711)]);
  assert.deepEqual(
    links
      .listLinks(a.socket)
      .map(({ name }) => name)
      .sort(),
    ["a7", "lo"],
  );
});

for (const { family, local, remote } of [
  { family: "IPv4", local: "127.0.0.1", remote: "127.0.0.2" },
  { family: "IPv6", local: "fd00::1", remote: "fd00::2" },
]) {
  test(`a vxlan over ${family} is made in the other namespace, and its VNI and port are taken once`, (t) => {
    const { a, b, end } = twoNamespaces(t);
    const tunnel = { udpPort: 4799, localAddress: local, remoteAddress: remote };
    a.socket.perform([links.createVxlan({ ...end(b), name: "vx", vni: 16777215, ...tunnel })]);
    const made = links.getLink(b.socket, "vx");
    assert.deepEqual([made?.kind, made?.vxlan], ["vxlan", { vni: 16777215, udpPort: 4799 }]);
    assert.equal(links.getLink(a.socket, "vx"), undefined);
    const again = links.createVxlan({ ...end(a), name: "vx2", vni: 16777215, ...tunnel, remoteAddress: local });
    assert.throws(() => a.socket.perform([again]), {
      name: "SystemError",
      errno: "EEXIST",
      message: /vni=16777215 port=4799: EEXIST/,
    });
    b.socket.perform([links.retargetVxlan(made?.index ?? 0, { vni: 16777215, localAddress: local, remoteAddress: local })]);
  });
}

test("addresses: added without duplicate detection, listed, deleted", (t) => {
  const { a, index } = wire(t);
  const prefixes = ["10.1.0.1/32", "10.1.0.2/24", "fd01::1/128", "fd01::2/64"].map(parsePrefix);
  for (const _ of [1, 2]) a.socket.perform(prefixes.map((prefix) => addAddress(index, prefix)));
  const global = () => listAddresses(a.socket, index).filter(({ scope }) => scope === 0);
  assert.deepEqual(
    global()
      .map(({ prefix }) => formatPrefix(prefix))
      .sort(),
    prefixes.map(formatPrefix).sort(),
  );
  assert.ok(global().every(({ tentative }) => !tentative));
  for (const _ of [1, 2]) a.socket.perform(prefixes.map((prefix) => deleteAddress(index, prefix)));
  assert.deepEqual(global(), []);
});

test("routes: direct, through a gateway, in tables beyond 255; before others; deleted", (t) => {
  const { a, index } = wire(t);
  const route = (prefix: string, gateway: string, table = mainTable): Route => ({
    prefix: parsePrefix(prefix),
    gateway: gateway === "" ? undefined : parseAddress(gateway),
    linkIndex: index,
    table,
    protocol: weftProtocol,
    metric: prefix.includes(":") ? 512 : 0,
  });
  // A gateway is looked up in the local table, which exists with the first address.
  a.socket.perform([addAddress(index, parsePrefix("10.2.0.2/32"))]);
  const wanted = [
    route("10.2.0.1/32", ""),
    route("10.3.0.0/16", "10.2.0.1"),
    route("0.0.0.0/0", "10.2.0.1", 70_000),
    route("fd02::1/128", ""),
    route("fd03::/16", "fd02::1"),
    route("::/0", "fd02::1", 70_000),
  ];
  a.socket.perform(wanted.map((each) => addRoute(each, "exclusive")));
  const listed = (): Route[] =>
    families.flatMap((family) => listRoutes(a.socket, family, index)).filter((each) => each.protocol === weftProtocol);
  const key = (each: Route) => `${formatPrefix(each.prefix)} ${each.gateway ? formatAddress(each.gateway) : "-"} ${each.table}`;
  assert.deepEqual(listed().map(key).sort(), wanted.map(key).sort());
  assert.throws(() => a.socket.perform([addRoute(route("10.3.0.0/16", "10.2.0.9"), "exclusive")]), { errno: "EEXIST" });
  a.socket.perform([addRoute(route("10.3.0.0/16", "10.2.0.9"), "before-others")]);
  assert.equal(listed().length, wanted.length + 1);
  a.socket.perform(listed().map(deleteRoute));
  assert.deepEqual(listed(), []);
});

test("rules by source, protocol and ports are added, listed with all selectors and deleted", (t) => {
  const { a } = wire(t);
  const rule: Rule = {
    family: AF_INET,
    priority: 20_000,
    from: parsePrefix("10.4.0.1/32"),
    ipProtocol: 6,
    sourcePorts: { first: 1, last: 65_534 },
    destinationPorts: { first: 80, last: 80 },
    table: 70_001,
    protocol: weftProtocol,
  };
  const rules: Rule[] = [
    rule,
    { ...rule, family: AF_INET6, from: parsePrefix("fd04::/64"), ipProtocol: 17, sourcePorts: undefined },
  ];
  for (const _ of [1, 2]) a.socket.perform(rules.map(addRule));
  const listed = (): Rule[] =>
    families.flatMap((family) => listRules(a.socket, family)).filter(({ protocol }) => protocol === weftProtocol);
  assert.deepEqual(listed(), rules);
  for (const _ of [1, 2]) a.socket.perform(rules.map(deleteRule));
  assert.deepEqual(listed(), []);
});

test("permanent neighbours are set, replaced and deleted", (t) => {
  const { a, index } = wire(t);
  const addresses = ["10.5.0.1", "fd05::1"].map(parseAddress);
  const mac = randomMac();
  a.socket.perform(addresses.map((address) => setNeighbor(index, address, randomMac())));
  a.socket.perform(addresses.map((address) => setNeighbor(index, address, mac)));
  const listed = () => listNeighbors(a.socket, index).filter(({ permanent }) => permanent);
  assert.deepEqual(
    listed().map((each) => [formatAddress(each.address), each.macAddress]),
    [
      ["10.5.0.1", mac],
      ["fd05::1", mac],
    ],
  );
  for (const _ of [1, 2]) a.socket.perform(addresses.map((address) => deleteNeighbor(index, address)));
  assert.deepEqual(listed(), []);
});

test("events of another namespace arrive: a peer that is set down, a link that is deleted, a namespace that ends", async (t) => {
  const { a, b, end } = twoNamespaces(t);
  const own = openNetlinkSocket();
  t.after(() => own.close());
  const seen: Parameters<LinkEventHandlers["link"]>[0][] = [];
  const ended: number[] = [];
  const { wake, until } = waiting();
  const handlers: LinkEventHandlers = {
    link(event) {
      seen.push(event);
      wake();
    },
    namespaceEnded(namespace) {
      ended.push(namespace);
      wake();
    },
    overrun: () => assert.fail("overrun"),
  };
  const watch = watchLinks(handlers);
  t.after(() => watch.close());
  const namespace = namespaceId(own, a.netns);
  assert.equal(namespaceId(own, a.netns), namespace, "the number stays");

  a.socket.perform([links.createVeth({ ...end(a), name: "one" }, { ...end(b), name: "two" })]);
  const one = links.getLink(a.socket, "one");
  assert.ok(one?.peerIndex);
  a.socket.perform([links.setLink(one.index, { up: true })]);
  b.socket.perform([links.setLink(one.peerIndex, { up: true })]);
  await until(() => seen.some((event) => event.namespace === namespace && event.index === one.index && event.carrier));
  seen.length = 0;
  b.socket.perform([links.setLink(one.peerIndex, { up: false })]);
  await until(() => seen.some((event) => event.namespace === namespace && event.index === one.index && !event.carrier));
  await b.socket.performOnThread([links.deleteLink(one.peerIndex)]);
  await until(() => seen.some((event) => event.namespace === namespace && event.index === one.index && event.gone));
  a.socket.close();
  a.netns.close();
  await until(() => ended.includes(namespace));
});

test("a refusal names what was attempted and the kernel's reason, and a batch goes on after it", (t) => {
  const { a, index } = wire(t);
  const answers = a.socket.attempt([
    addAddress(9999, parsePrefix("10.6.0.1/32")),
    addAddress(index, parsePrefix("10.6.0.2/32")),
    links.createPlainLink("wt-odd", "no-such-kind"),
  ]);
  assert.match(String(answers[0]?.error), /add address 10\.6\.0\.1\/32 to link 9999: ENODEV/);
  assert.equal(answers[1]?.error, undefined);
  assert.match(String(answers[2]?.error), /create no-such-kind wt-odd: EOPNOTSUPP/);
});

test("large batches and dumps are complete", (t) => {
  const { a, index } = wire(t);
  const prefixes = Array.from({ length: 1_000 }, (_, n) => parsePrefix(`10.7.${n >> 8}.${n & 255}/32`));
  a.socket.perform(prefixes.map((prefix) => addAddress(index, prefix)));
  assert.equal(listAddresses(a.socket, index).filter(({ prefix }) => prefix.family === AF_INET).length, 1_000);
});

test("sockets and namespaces leak no descriptor", (t) => {
  const { a } = twoNamespaces(t);
  const before = readdirSync("/proc/self/fd").length;
  for (let round = 0; round < 100; round++) {
    const socket = openNetlinkSocket(a.netns);
    links.listLinks(socket);
    socket.close();
    socket.close();
  }
  assert.equal(readdirSync("/proc/self/fd").length, before);
});

const families = [AF_INET, AF_INET6] as const;

interface Place {
  readonly netns: ReturnType<typeof openNetns>;
  readonly socket: NetlinkSocket;
}

function twoNamespaces(t: TestContext) {
  const open = (): Place => {
    const netns = openNewNetns();
    const socket = openNetlinkSocket(netns);
    t.after(() => {
      socket.close();
      netns.close();
    });
    return { netns, socket };
  };
  const end = ({ netns }: Place): links.VethEnd => ({ netns, name: "", macAddress: randomMac(), mtuBytes: 1500 });
  return { a: open(), b: open(), end };
}

/** A link that is up, in a namespace of its own. */
function wire(t: TestContext) {
  const { a, b, end } = twoNamespaces(t);
  a.socket.perform([links.createVeth({ ...end(a), name: "one" }, { ...end(b), name: "two" })]);
  const index = links.getLink(a.socket, "one")?.index ?? 0;
  a.socket.perform([links.setLink(index, { up: true })]);
  return { a, b, index };
}

/** Waits until a condition holds, looked at whenever `wake` is called. */
function waiting(): { wake(): void; until(holds: () => boolean): Promise<void> } {
  const checks = new Set<() => void>();
  return {
    wake() {
      for (const check of [...checks]) check();
    },
    until: (holds) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (!holds()) return;
          checks.delete(check);
          resolve();
        };
        checks.add(check);
        check();
      }),
  };
}
