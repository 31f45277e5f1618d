/**
 * What every data plane that moves packets must do, with real packets between real namespaces.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { formatAddress, formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { listNeighbors } from "../../sdk/linux/netlink/neighbors.js";
import { listRoutes, mainTable } from "../../sdk/linux/netlink/routes.js";
import { withNetns } from "../../sdk/linux/netns.js";
import { Code } from "../../sdk/status.js";
import * as faults from "./compliance-faults.js";
import * as world from "./compliance-world.js";
import { crossConnect, linkIn, namespace, noSignal, numbered, pings, port } from "./compliance-world.js";
import type { CrossConnect, DataPlane } from "./dataplane.js";

/** Makes a data plane at home in the calling thread's network namespace. */
export type MakeDataPlane = (stateDir: string) => DataPlane;

export function dataPlaneCompliance(name: string, make: MakeDataPlane): void {
  const start = (t: TestContext): DataPlane => {
    const dataPlane = make(world.stateFolder(t));
    t.after(() => dataPlane.close());
    return dataPlane;
  };
  localConnections(name, start);
  remoteConnections(name, make);
  changes(name, start);
  refusals(name, start);
}

type Start = (t: TestContext) => DataPlane;

/** Two pods on one node with a connection between them. */
async function connected(t: TestContext, start: Start, change: Partial<CrossConnect> = {}) {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const dataPlane = start(t);
  const made = crossConnect("c1", numbered(client, endpoint), change);
  await dataPlane.ensure(made, noSignal);
  t.after(() => dataPlane.remove("c1", noSignal));
  return { client, endpoint, dataPlane, made };
}

function localConnections(name: string, start: Start): void {
  test(`${name}: row 1.1: two pods on one node reach each other over IPv4 and IPv6, and removing takes both links away`, async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    for (const family of ["172.16.0", "fd16:0:"]) {
      const [clientAddress, endpointAddress] = family.includes(":") ? ["fd16:0::1", "fd16:0::0"] : ["172.16.0.1", "172.16.0.0"];
      assert.ok(await pings(client, endpointAddress, clientAddress), `client to endpoint ${family}`);
      assert.ok(await pings(endpoint, clientAddress, endpointAddress), `endpoint to client ${family}`);
    }
    assert.equal(linkIn(client, "nsm-1")?.alias, "server-test");
    assert.equal(linkIn(endpoint, "nse-1")?.alias, "client-test");
    await dataPlane.remove("c1", noSignal);
    assert.deepEqual([linkIn(client, "nsm-1"), linkIn(endpoint, "nse-1"), dataPlane.list()], [undefined, undefined, []]);
    await dataPlane.remove("c1", noSignal);
  });

  for (const payload of ["ETHERNET", "IP"] as const) {
    test(`${name}: payload ${payload} within a node`, async (t) => {
      const { client } = await connected(t, start, { payload });
      assert.ok(await pings(client, "172.16.0.0"));
    });
  }

  test(`${name}: row 4.7: an IPv6 address is usable at once`, async (t) => {
    const { client, endpoint } = await connected(t, start);
    for (const place of [client, endpoint]) {
      assert.ok(listAddresses(place.socket).every(({ tentative, scope }) => scope !== 0 || !tentative));
    }
  });

  test(`${name}: row 1.24: both ends have the MTU asked for, and a full packet passes`, async (t) => {
    const { client, endpoint } = await connected(t, start, { mtuBytes: 1446 });
    assert.equal(linkIn(client, "nsm-1")?.mtuBytes, 1446);
    assert.equal(linkIn(endpoint, "nse-1")?.mtuBytes, 1446);
  });

  test(`${name}: row 10.2: counters grow with traffic, seen from the client`, async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    const before = await dataPlane.counters("c1");
    for (let round = 0; round < 5; round++) assert.ok(await pings(client, "172.16.0.0"));
    const after = await dataPlane.counters("c1");
    assert.ok(before && after && after.txPackets >= before.txPackets + 5n && after.rxBytes > before.rxBytes);
    assert.equal(await dataPlane.counters("unknown"), undefined);
    assert.ok(linkIn(endpoint, "nse-1"));
  });

  test(`${name}: every object is listed with its owner`, async (t) => {
    const { dataPlane } = await connected(t, start);
    const objects = await dataPlane.objects();
    assert.deepEqual(new Set(objects.map(({ connectionId }) => connectionId)), new Set(["c1"]));
    for (const kind of ["link", "address", "route"]) assert.ok(objects.filter((each) => each.kind === kind).length >= 2, kind);
  });

  test(`${name}: row 1.26: several connections of one pod do not disturb each other`, async (t) => {
    const { client, dataPlane } = await connected(t, start);
    const second = namespace(t, "second");
    const ports = numbered(client, second, 9);
    await dataPlane.ensure(crossConnect("c2", { ...ports, client: { ...ports.client, interfaceName: "nsm-2" } }), noSignal);
    assert.ok((await pings(client, "172.16.0.0")) && (await pings(client, "172.16.9.0")));
    await dataPlane.remove("c2", noSignal);
    assert.ok(await pings(client, "172.16.0.0"));
  });
}

function remoteConnections(name: string, make: MakeDataPlane): void {
  for (const family of ["v4", "v6"] as const) {
    test(`${name}: row 1.2: two pods on two nodes reach each other through VXLAN over IP${family}, MAC kept end to end`, async (t) => {
      const { one, two, address } = world.twoNodes(t);
      const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
      const planes = [one, two].map(({ netns }) => withNetns(netns, () => make(world.stateFolder(t))));
      const [first, second] = planes;
      assert.ok(first && second);
      t.after(() => Promise.all(planes.map((each) => each.close())));
      const ports = numbered(client, endpoint);
      const tunnel = { kind: "vxlan", vni: 70_001, udpPort: 4799 } as const;
      const mac = "02:00:00:00:12:34";
      const [here, there] = [address(1, family), address(2, family)];
      await first.ensure(
        crossConnect("a", {
          client: { ...ports.client, macAddress: mac },
          endpoint: { ...tunnel, localAddress: here, remoteAddress: there },
        }),
        noSignal,
      );
      await second.ensure(
        crossConnect("b", { client: { ...tunnel, localAddress: there, remoteAddress: here }, endpoint: ports.endpoint }),
        noSignal,
      );
      assert.ok(await pings(client, "172.16.0.0"), "IPv4 inside");
      assert.ok(await pings(endpoint, "fd16:0::1"), "IPv6 inside");
      const seen = listNeighbors(endpoint.socket, linkIn(endpoint, "nse-1")?.index ?? 0).find(
        (each) => formatAddress(each.address) === "172.16.0.1",
      );
      assert.equal(seen?.macAddress, mac);
      assert.deepEqual([linkIn(client, "nsm-1")?.mtuBytes, linkIn(endpoint, "nse-1")?.mtuBytes], [1400, 1400]);
      assert.deepEqual([await first.usedVnis(4799), await first.usedVnis(4789)], [new Set([70_001]), new Set()]);
      assert.equal(await first.underlayMtuBytes(here), 1500);
      const [sent, received] = [await first.counters("a"), await second.counters("b")];
      assert.ok(
        sent && received && sent.txPackets > 0n && received.txPackets > 0n,
        "tx is what comes from the client on both nodes",
      );
      await Promise.all([first.remove("a", noSignal), second.remove("b", noSignal)]);
      assert.deepEqual([linkIn(client, "nsm-1"), linkIn(endpoint, "nse-1")], [undefined, undefined]);
      assert.deepEqual(await first.usedVnis(4799), new Set());
    });
  }

  test(`${name}: row 1.23: a VNI is taken once per node and UDP port, and the port may differ`, async (t) => {
    const { one, address } = world.twoNodes(t);
    const pods = ["a", "b", "c"].map((hint) => namespace(t, hint));
    const dataPlane = withNetns(one.netns, () => make(world.stateFolder(t)));
    t.after(() => dataPlane.close());
    const ask = (id: string, pod: number, udpPort: number, remoteAddress: string): Promise<void> => {
      const endpoint = { kind: "vxlan", vni: 7, udpPort, localAddress: address(1), remoteAddress } as const;
      return dataPlane.ensure(crossConnect(id, { client: port(pods[pod] ?? assert.fail()), endpoint }), noSignal);
    };
    await ask("a", 0, 4799, "198.18.0.2");
    await assert.rejects(ask("b", 1, 4799, "198.18.0.3"), { code: Code.ALREADY_EXISTS, details: /vni=7 port=4799: EEXIST/ });
    await ask("c", 2, 4800, "198.18.0.3");
    assert.equal(linkIn(pods[1] ?? assert.fail(), "nsm-1"), undefined);
    await dataPlane.remove("a", noSignal);
    await ask("b", 1, 4799, "198.18.0.3");
    await Promise.all(["b", "c"].map((id) => dataPlane.remove(id, noSignal)));
  });
}

function changes(name: string, start: Start): void {
  test(`${name}: row 1.28: ensuring the same again changes nothing`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const before = [world.inventory(client), world.inventory(endpoint), linkIn(client, "nsm-1")?.index];
    for (let generation = 2; generation < 5; generation++) await dataPlane.ensure({ ...made, generation }, noSignal);
    assert.deepEqual([world.inventory(client), world.inventory(endpoint), linkIn(client, "nsm-1")?.index], before);
    await assert.rejects(dataPlane.ensure({ ...made, generation: 3 }, noSignal), { code: Code.ABORTED });
  });

  test(`${name}: row 4.10: addresses, routes and neighbours follow the context in place`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const index = linkIn(client, "nsm-1")?.index ?? 0;
    const ports = numbered(client, endpoint, 5);
    const routes = [
      { prefix: "10.50.0.0/16", nextHop: "172.16.5.0" },
      { prefix: "fd50::/32", nextHop: "fd16:5::0" },
    ];
    const neighbors = [{ address: "172.16.5.0", macAddress: linkIn(endpoint, "nse-1")?.macAddress ?? "" }];
    await dataPlane.ensure({ ...made, generation: 2, ...ports, client: { ...ports.client, routes, neighbors } }, noSignal);
    assert.equal(linkIn(client, "nsm-1")?.index, index, "the interface stays");
    assert.ok((await pings(client, "172.16.5.0")) && (await pings(client, "fd16:5::0")));
    assert.ok(!world.inventory(client).some((line) => line.startsWith("address 172.16.0.")), "the old address is gone");
    assert.deepEqual(
      routesOf(client).filter((text) => /^(10|fd50)/.test(text)),
      ["10.50.0.0/16 via 172.16.5.0", "fd50::/32 via fd16:5::"],
    );
    assert.ok(world.inventory(client).some((line) => line.startsWith("neighbor 172.16.5.0")));
    await dataPlane.ensure({ ...made, generation: 3, ...ports }, noSignal);
    assert.deepEqual(
      routesOf(client).filter((text) => /^(10|fd50)/.test(text)),
      [],
    );
    assert.ok(!world.inventory(client).some((line) => line.startsWith("neighbor")));
  });

  test(`${name}: row 4.11: hardware address, MTU and name change in place, and a chosen hardware address is kept`, async (t) => {
    const { client, dataPlane, made } = await connected(t, start);
    const before = linkIn(client, "nsm-1");
    const wanted = { ...made.client, macAddress: "02:aa:bb:cc:dd:ee", interfaceName: "renamed" } as CrossConnect["client"];
    await dataPlane.ensure({ ...made, generation: 2, client: wanted, mtuBytes: 1300 }, noSignal);
    const after = linkIn(client, "renamed");
    assert.deepEqual([after?.index, after?.macAddress, after?.mtuBytes], [before?.index, "02:aa:bb:cc:dd:ee", 1300]);
    await dataPlane.ensure({ ...made, generation: 3 }, noSignal);
    assert.equal(linkIn(client, "nsm-1")?.macAddress, "02:aa:bb:cc:dd:ee");
    assert.ok(await pings(client, "172.16.0.0"));
  });

  test(`${name}: damage from outside is repaired by the next ensure`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const before = world.inventory(client);
    faults.damage(client, "nsm-1");
    assert.notDeepEqual(world.inventory(client), before);
    await dataPlane.ensure({ ...made, generation: 2 }, noSignal);
    assert.deepEqual(world.inventory(client), before);
    await faults.deleteByHand(endpoint, "nse-1");
    await dataPlane.ensure({ ...made, generation: 3 }, noSignal);
    assert.deepEqual(world.inventory(client), before);
    assert.ok(await pings(client, "172.16.0.0"));
  });

  test(`${name}: another endpoint takes the place of the first, under the same interface name`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const third = namespace(t, "third");
    await dataPlane.ensure({ ...made, generation: 2, ...numbered(client, third, 3) }, noSignal);
    assert.ok((await pings(client, "172.16.3.0")) && (await pings(client, "fd16:3::0")));
    assert.equal(linkIn(endpoint, "nse-1"), undefined);
    assert.deepEqual(
      world.inventory(client).filter((line) => line.startsWith("link")),
      ["link lo  65536 ", "link nsm-1 veth 1400 server-test"],
    );
  });

  test(`${name}: a route that the pod has already stays, is overruled while connected, and is back afterwards`, async (t) => {
    const { client, dataPlane, made } = await connected(t, start);
    const other = await faults.uplink(t, client);
    const before = world.inventory(client).length;
    const routes = ["0.0.0.0/0", "::/0"].map((prefix) => ({
      prefix,
      nextHop: prefix.includes(":") ? "fd16:0::0" : "172.16.0.0",
    }));
    await dataPlane.ensure({ ...made, generation: 2, client: { ...made.client, routes } as CrossConnect["client"] }, noSignal);
    assert.equal(world.inventory(client).length, before + 2);
    assert.deepEqual([faults.linkTowards(client, "8.8.8.8"), faults.linkTowards(client, "2001:db8::1")], ["nsm-1", "nsm-1"]);
    await dataPlane.remove("c1", noSignal);
    assert.deepEqual([faults.linkTowards(client, "8.8.8.8"), faults.linkTowards(client, "2001:db8::1")], [other, other]);
  });

  test(`${name}: row 4.9: policy rules choose gateway and interface, follow changes and go with the connection`, async (t) => {
    const { client, dataPlane, made } = await connected(t, start);
    await faults.uplink(t, client);
    const before = world.inventory(client).filter((line) => line.startsWith("rule"));
    const policy = { from: "", protocol: 6, sourcePorts: undefined, destinationPorts: { first: 80, last: 443 }, routes: [] };
    const via = [
      { prefix: "0.0.0.0/0", nextHop: "172.16.0.0" },
      { prefix: "::/0", nextHop: "fd16:0::0" },
    ];
    const ask = (generation: number, policies: readonly unknown[]): Promise<void> =>
      dataPlane.ensure({ ...made, generation, client: { ...made.client, policies } as CrossConnect["client"] }, noSignal);
    await ask(2, [
      { ...policy, routes: via },
      { ...policy, from: "172.16.0.1/32", protocol: 17, destinationPorts: undefined },
    ]);
    for (const destination of ["8.8.8.8", "2001:db8::1"]) {
      assert.equal(faults.linkTowards(client, destination, { protocol: 6, port: 80 }), "nsm-1", destination);
      assert.equal(faults.linkTowards(client, destination, { protocol: 6, port: 8080 }), "uplink", destination);
    }
    assert.equal(faults.linkTowards(client, "8.8.8.8", { protocol: 17, port: 53, source: "172.16.0.1" }), "nsm-1");
    const rules = world.inventory(client).filter((line) => line.startsWith("rule"));
    await ask(3, [{ ...policy, routes: via }]);
    assert.equal(world.inventory(client).filter((line) => line.startsWith("rule")).length, rules.length - 1);
    await ask(4, []);
    assert.deepEqual(
      world.inventory(client).filter((line) => line.startsWith("rule")),
      before,
    );
    await ask(5, [{ ...policy, routes: via }]);
    await dataPlane.remove("c1", noSignal);
    assert.deepEqual(
      world.inventory(client).filter((line) => line.startsWith("rule")),
      before,
    );
  });
}

function refusals(name: string, start: Start): void {
  test(`${name}: an interface name that somebody else has is refused, and theirs is not touched`, async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    const before = [world.inventory(client), world.inventory(endpoint)];
    const third = namespace(t, "third");
    await assert.rejects(dataPlane.ensure(crossConnect("c2", numbered(client, third, 2)), noSignal), {
      code: Code.ALREADY_EXISTS,
      details: /nsm-1.*choose another name/,
    });
    await assert.rejects(dataPlane.ensure(crossConnect("c3", numbered(third, endpoint, 2)), noSignal), {
      code: Code.ALREADY_EXISTS,
      details: /nse-1/,
    });
    assert.deepEqual([world.inventory(client), world.inventory(endpoint)], before);
    assert.deepEqual(
      world.inventory(third).filter((line) => line.startsWith("link")),
      ["link lo  65536 "],
    );
    assert.deepEqual(
      dataPlane.list().map(({ id }) => id),
      ["c1"],
    );
  });

  test(`${name}: a failed change keeps what was there`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const third = namespace(t, "third");
    const before = [world.inventory(client), world.inventory(endpoint)];
    const same = (): void => assert.deepEqual([world.inventory(client), world.inventory(endpoint)], before);
    const unreachable = { ...made.client, routes: [{ prefix: "10.60.0.0/16", nextHop: "172.16.0.1" }] } as CrossConnect["client"];
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, client: unreachable, mtuBytes: 1300 }, noSignal), {
      code: Code.INVALID_ARGUMENT,
    });
    same();
    faults.foreignLink(third, "nse-1");
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, ...numbered(client, third, 2) }, noSignal), {
      code: Code.ALREADY_EXISTS,
    });
    same();
    const gone = { ...made.endpoint, netnsUrl: "file:///run/netns/wt-not-there" } as CrossConnect["endpoint"];
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, endpoint: gone }, noSignal), { code: Code.NOT_FOUND });
    same();
    assert.ok(await pings(client, "172.16.0.0"));
    assert.equal(dataPlane.list()[0]?.generation, 1);
  });

  test(`${name}: a namespace that vanishes is a status at ensure and no obstacle to removal`, async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    endpoint.end();
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2 }, noSignal), {
      code: Code.NOT_FOUND,
      details: /is the pod gone/,
    });
    await dataPlane.remove("c1", noSignal);
    assert.equal(linkIn(client, "nsm-1"), undefined);
  });

  test(`${name}: an aborted request is not begun`, async (t) => {
    const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
    await assert.rejects(start(t).ensure(crossConnect("c1", numbered(client, endpoint)), AbortSignal.abort()), {
      name: "AbortError",
    });
    assert.equal(linkIn(client, "nsm-1"), undefined);
  });

  const bad: { why: string; change: (made: CrossConnect) => Partial<CrossConnect>; code: number; details: RegExp }[] = [
    {
      why: "a name over 15 bytes",
      change: client({ interfaceName: "sixteen-bytes-xx" }),
      code: Code.INVALID_ARGUMENT,
      details: /1…15 bytes, not 16/,
    },
    { why: "a name with a slash", change: client({ interfaceName: "a/b" }), code: Code.INVALID_ARGUMENT, details: /must not/ },
    {
      why: "a name that is a pattern",
      change: client({ interfaceName: "eth%d" }),
      code: Code.INVALID_ARGUMENT,
      details: /must not/,
    },
    {
      why: "no address",
      change: client({ addresses: ["172.16.0.300/32"] }),
      code: Code.INVALID_ARGUMENT,
      details: /is not an IP address/,
    },
    {
      why: "a multicast hardware address",
      change: client({ macAddress: "01:00:5e:00:00:01" }),
      code: Code.INVALID_ARGUMENT,
      details: /group address/,
    },
    {
      why: "a route between families",
      change: client({ routes: [{ prefix: "10.0.0.0/8", nextHop: "fd00::1" }] }),
      code: Code.INVALID_ARGUMENT,
      details: /one address family/,
    },
    {
      why: "a namespace that is none",
      change: client({ netnsUrl: "file:///etc/hostname" }),
      code: Code.INVALID_ARGUMENT,
      details: /not a network namespace/,
    },
    { why: "an absurd MTU", change: () => ({ mtuBytes: 20 }), code: Code.INVALID_ARGUMENT, details: /mtu 20/ },
    {
      why: "IPv6 below its least MTU",
      change: () => ({ mtuBytes: 1000 }),
      code: Code.INVALID_ARGUMENT,
      details: /IPv6 needs at least 1280/,
    },
    {
      why: "VXLAN for IP packets",
      change: () => ({
        payload: "IP",
        endpoint: { kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" },
      }),
      code: Code.FAILED_PRECONDITION,
      details: /payload IP over VXLAN/,
    },
    {
      why: "an unbuilt port",
      change: () => ({ endpoint: { kind: "noop", mechanism: "MEMIF" } }),
      code: Code.FAILED_PRECONDITION,
      details: /unbuilt MEMIF/,
    },
    {
      why: "a VNI of 25 bits",
      change: () => ({
        endpoint: { kind: "vxlan", vni: 2 ** 24, udpPort: 4789, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" },
      }),
      code: Code.INVALID_ARGUMENT,
      details: /vni/,
    },
  ];
  for (const { why, change, code, details } of bad) {
    test(`${name}: refused: ${why}`, async (t) => {
      const [one, two] = [namespace(t, "client"), namespace(t, "endpoint")];
      const dataPlane = start(t);
      const made = crossConnect("c1", numbered(one, two));
      await assert.rejects(dataPlane.ensure({ ...made, ...change(made) }, noSignal), { name: "StatusError", code, details });
      assert.equal(linkIn(one, "nsm-1"), undefined);
      assert.deepEqual(dataPlane.list(), []);
    });
  }
}

function client(change: object): (made: CrossConnect) => Partial<CrossConnect> {
  return (made) => ({ client: { ...made.client, ...change } as CrossConnect["client"] });
}

function routesOf(place: world.Namespace): string[] {
  return world.families
    .flatMap((family) => listRoutes(place.socket, family))
    .filter(({ table }) => table === mainTable)
    .map(({ prefix, gateway }) => `${formatPrefix(prefix)}${gateway ? ` via ${formatAddress(gateway)}` : ""}`);
}
