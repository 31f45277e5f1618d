/**
 * Compliance: updates in place, repair, replacement, routes of others, policy rules.
 */
import assert from "node:assert/strict";
import { formatAddress, formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { listRoutes, mainTable } from "../../sdk/linux/netlink/routes.js";
import { Code } from "../../sdk/status.js";
import * as faults from "./compliance-faults.js";
import * as world from "./compliance-world.js";
import { connected, type Define, linkIn, namespace, noSignal, numbered, pings, type Start } from "./compliance-world.js";
import type { CrossConnect } from "./dataplane.js";

export function changes(define: Define, start: Start): void {
  define("row 1.28: ensuring the same again changes nothing", async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const before = [world.inventory(client), world.inventory(endpoint), linkIn(client, "nsm-1")?.index];
    for (let generation = 2; generation < 5; generation++) await dataPlane.ensure({ ...made, generation }, noSignal);
    assert.deepEqual([world.inventory(client), world.inventory(endpoint), linkIn(client, "nsm-1")?.index], before);
    await assert.rejects(dataPlane.ensure({ ...made, generation: 3 }, noSignal), { code: Code.ABORTED });
  });

  define("row 4.10: addresses, routes and neighbours follow the context in place", async (t) => {
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

  define("row 4.11: hardware address, MTU and name change in place, and a chosen hardware address is kept", async (t) => {
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

  define("damage from outside is repaired by the next ensure", async (t) => {
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

  define("another endpoint takes the place of the first, under the same interface name", async (t) => {
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

  define("a route that the pod has already stays, is overruled while connected, and is back afterwards", async (t) => {
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

  define("row 4.9: policy rules choose gateway and interface, follow changes and go with the connection", async (t) => {
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
    assert.deepEqual(
      (await dataPlane.objects()).flatMap(({ kind, name }) => (kind === "table" ? [name] : [])),
      ["1", "2", "3"],
      "tables are numbered upward from 1",
    );
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

  define("every group may ping in both namespaces while a connection is there, and no longer after the last", async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    const third = world.namespace(t, "third");
    const before = world.pingGroups(third);
    const ports = world.numbered(third, endpoint, 2);
    const second = { ...ports, endpoint: { ...ports.endpoint, interfaceName: "nse-2" } };
    await dataPlane.ensure(world.crossConnect("c2", second), noSignal);
    const allowed = (): boolean[] => [client, endpoint, third].map((place) => world.pingGroups(place) !== before);
    // A user namespace without all groups may not say so; then nothing is changed.
    const possible = world.pingGroups(third) === "0\t2147483647";
    assert.deepEqual(allowed(), [possible, possible, possible]);
    await dataPlane.remove("c1", noSignal);
    assert.deepEqual(allowed(), [false, possible, possible]);
    await dataPlane.remove("c2", noSignal);
    assert.deepEqual(allowed(), [false, false, false]);
  });
}

function routesOf(place: world.Namespace): string[] {
  return world.families
    .flatMap((family) => listRoutes(place.socket, family))
    .filter(({ table }) => table === mainTable)
    .map(({ prefix, gateway }) => `${formatPrefix(prefix)}${gateway ? ` via ${formatAddress(gateway)}` : ""}`);
}
