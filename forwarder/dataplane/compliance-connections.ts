/**
 * Compliance: connections within a node and between nodes.
 */
import assert from "node:assert/strict";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { formatAddress } from "../../sdk/linux/netlink/ip-address.js";
import { listNeighbors } from "../../sdk/linux/netlink/neighbors.js";
import { withNetns } from "../../sdk/linux/netns.js";
import { Code } from "../../sdk/status.js";
import * as faults from "./compliance-faults.js";
import * as world from "./compliance-world.js";
import {
  connected,
  crossConnect,
  type Define,
  linkIn,
  type MakeDataPlane,
  namespace,
  noSignal,
  numbered,
  pings,
  port,
  type Start,
} from "./compliance-world.js";

export function localConnections(define: Define, start: Start): void {
  define("row 1.1: two pods on one node reach each other over IPv4 and IPv6, and removing takes both links away", async (t) => {
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
    define(`payload ${payload} within a node`, async (t) => {
      const { client } = await connected(t, start, { payload });
      assert.ok(await pings(client, "172.16.0.0"));
    });
  }

  define("row 4.7: an IPv6 address is usable at once", async (t) => {
    const { client, endpoint } = await connected(t, start);
    for (const place of [client, endpoint]) {
      assert.ok(listAddresses(place.socket).every(({ tentative, scope }) => scope !== 0 || !tentative));
    }
  });

  define("row 4.7: IPv6 works where the namespace switches it off for new interfaces", async (t) => {
    const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
    for (const place of [client, endpoint]) faults.switchOffIpv6(place);
    const routes = [{ prefix: "fd99::/16", nextHop: "fd16:0::0" }];
    const ports = numbered(client, endpoint);
    await start(t).ensure(crossConnect("c1", { ...ports, client: { ...ports.client, routes } }), noSignal);
    assert.ok((await pings(client, "fd16:0::0")) && (await pings(client, "172.16.0.0")));
    assert.equal(faults.linkTowards(client, "fd99::1"), "nsm-1");
  });

  define("row 1.24: both ends have the MTU asked for, and a full packet passes", async (t) => {
    const { client, endpoint } = await connected(t, start, { mtuBytes: 1446 });
    assert.equal(linkIn(client, "nsm-1")?.mtuBytes, 1446);
    assert.equal(linkIn(endpoint, "nse-1")?.mtuBytes, 1446);
    assert.ok(await pings(client, "172.16.0.0", "", 1446 - 28), "IPv4");
    assert.ok(await pings(client, "fd16:0::0", "", 1446 - 48), "IPv6");
  });

  define("row 10.2: counters grow with traffic, seen from the client", async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    const before = await dataPlane.counters("c1");
    for (let round = 0; round < 5; round++) assert.ok(await pings(client, "172.16.0.0"));
    const after = await dataPlane.counters("c1");
    assert.ok(before && after && after.txPackets >= before.txPackets + 5n && after.rxBytes > before.rxBytes);
    assert.equal(await dataPlane.counters("unknown"), undefined);
    assert.ok(linkIn(endpoint, "nse-1"));
  });

  define("every object is listed with its owner", async (t) => {
    const { dataPlane } = await connected(t, start);
    const objects = await dataPlane.objects();
    assert.deepEqual(new Set(objects.map(({ connectionId }) => connectionId)), new Set(["c1"]));
    for (const kind of ["link", "address", "route"]) assert.ok(objects.filter((each) => each.kind === kind).length >= 2, kind);
  });

  define("row 1.26: several connections of one pod do not disturb each other", async (t) => {
    const { client, dataPlane } = await connected(t, start);
    const second = namespace(t, "second");
    const ports = numbered(client, second, 9);
    await dataPlane.ensure(crossConnect("c2", { ...ports, client: { ...ports.client, interfaceName: "nsm-2" } }), noSignal);
    assert.ok((await pings(client, "172.16.0.0")) && (await pings(client, "172.16.9.0")));
    await dataPlane.remove("c2", noSignal);
    assert.ok(await pings(client, "172.16.0.0"));
  });
}

export function remoteConnections(define: Define, make: MakeDataPlane): void {
  for (const family of ["v4", "v6"] as const) {
    define(`row 1.2: two pods on two nodes reach each other through VXLAN over IP${family}, MAC kept end to end`, async (t) => {
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
      assert.ok(await pings(client, "172.16.0.0", "", 1400 - 28), "a full packet");
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

  define("row 1.23: a VNI is taken once per node and UDP port, and the port may differ", async (t) => {
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
