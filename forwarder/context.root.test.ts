import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { State } from "../sdk/gen/connection.js";
import { IPContext } from "../sdk/gen/connectioncontext.js";
import { AF_INET, AF_INET6 } from "../sdk/linux/libc.js";
import { formatAddress, formatPrefix, parseAddress } from "../sdk/linux/netlink/ip-address.js";
import { deleteLink, getLink } from "../sdk/linux/netlink/links.js";
import { listNeighbors } from "../sdk/linux/netlink/neighbors.js";
import { listRoutes, lookUpRoute } from "../sdk/linux/netlink/routes.js";
import { describeRule, listRules } from "../sdk/linux/netlink/rules.js";
import { inodeUrl } from "../sdk/linux/netns.js";
import { withParameters } from "../sdk/mechanisms/parameters.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { until } from "../sdk/testing/until.js";
import { context, createNodes, inside } from "./testing/kernel-nodes.js";
import { kernel } from "./testing/two-nodes.js";
import { reportBroken } from "./watch-data-plane.js";

const families = [AF_INET, AF_INET6] as const;
const src = ["172.16.1.101/32", "2001:db8::101/128"];
const dst = ["172.16.1.100/32", "2001:db8::100/128"];

for (const to of ["local", "remote"] as const) {
  test(`row 4.10: ${to}: routes and neighbours of the context are installed, and removed when it changes`, async (t) => {
    const nodes = await createNodes(t);
    const ip = { src_ip_addrs: src, dst_ip_addrs: dst };
    nodes.mesh.endpoint.context = {
      ip_context: IPContext.fromPartial({
        ...ip,
        src_routes: [
          { prefix: "10.20.0.0/16" },
          { prefix: "2001:db8:20::/48" },
          { prefix: "10.30.0.0/16", nextHop: "172.16.1.7" },
        ],
        ip_neighbors: [{ ip: "172.16.1.7", hardware_address: "02:00:00:00:00:07" }],
      }),
    };
    const first = await nodes.mesh.request("a", to);
    const look = () =>
      inside(nodes.client, (socket) => {
        const index = getLink(socket, "nsm-1")?.index ?? 0;
        const routes = families.flatMap((family) => listRoutes(socket, family, index));
        return {
          routes: routes.map(
            ({ prefix, gateway }) => `${formatPrefix(prefix)} ${gateway === undefined ? "direct" : formatAddress(gateway)}`,
          ),
          neighbors: listNeighbors(socket, index).map(({ address, macAddress }) => `${formatAddress(address)} ${macAddress}`),
        };
      });
    const { routes, neighbors } = look();
    for (const route of [
      "172.16.1.100/32 direct",
      "10.20.0.0/16 172.16.1.100",
      "10.30.0.0/16 172.16.1.7",
      "2001:db8::100/128 direct",
      "2001:db8:20::/48 2001:db8::100",
    ]) {
      assert.ok(routes.includes(route), `${route} is missing in ${routes.join(", ")}`);
    }
    assert.ok(neighbors.includes("172.16.1.7 02:00:00:00:00:07"), neighbors.join(", "));
    nodes.mesh.endpoint.context = { ip_context: IPContext.fromPartial(ip) };
    const second = await nodes.mesh.request("a", to, { connection: first });
    const after = look();
    assert.ok(!after.routes.some((route) => /^(10\.|2001:db8:20:)/.test(route)), after.routes.join(", "));
    assert.ok(!after.neighbors.some((neighbor) => neighbor.startsWith("172.16.1.7")), after.neighbors.join(", "));
    await nodes.ping(src, dst);
    await nodes.mesh.close("a", second);
  });

  test(`row 4.9: ${to}: policies are rules with a table of their own, change with the context and go with it`, async (t) => {
    const nodes = await createNodes(t);
    const policy = {
      from: "172.16.1.101",
      proto: "6",
      dst_port: "6666",
      routes: [{ prefix: "172.16.3.0/24", nextHop: "172.16.1.100" }],
    };
    const set = (policies: object[]): void => {
      nodes.mesh.endpoint.context = { ip_context: IPContext.fromPartial({ src_ip_addrs: src, dst_ip_addrs: dst, policies }) };
    };
    const rules = () =>
      inside(nodes.client, (socket) => families.flatMap((family) => listRules(socket, family)).map(describeRule));
    /** As `ip route get` says: the gateway, "direct" or nothing. */
    const routeTo = (text: string, ipProtocol: number, destinationPort: number) => {
      const query = { destination: parseAddress(text), source: parseAddress("172.16.1.101"), ipProtocol, destinationPort };
      const route = inside(nodes.client, (socket) => lookUpRoute(socket, query));
      return route && (route.gateway === undefined ? "direct" : formatAddress(route.gateway));
    };
    const before = rules();
    set([policy, { proto: "17", dst_port: "5000-5005" }]);
    const first = await nodes.mesh.request("a", to);
    assert.equal(rules().length, before.length + 3, "the one without addresses holds for both families");
    assert.equal(routeTo("172.16.3.1", 6, 6666), "172.16.1.100");
    assert.equal(routeTo("172.16.9.9", 17, 5003), "direct", "a default route through the interface");
    assert.equal(routeTo("172.16.3.1", 6, 6667), undefined);
    set([{ ...policy, routes: [{ prefix: "172.16.4.0/24" }] }]);
    const second = await nodes.mesh.request("a", to, { connection: first });
    assert.equal(rules().length, before.length + 1);
    assert.equal(routeTo("172.16.3.1", 6, 6666), undefined);
    assert.equal(routeTo("172.16.4.1", 6, 6666), "direct");
    await nodes.mesh.close("a", second);
    assert.deepEqual(rules(), before);
  });

  test(`row 4.11: ${to}: MAC addresses and MTU of the context are on the links`, async (t) => {
    const nodes = await createNodes(t);
    const ethernet_context = { src_mac: "02:00:00:00:00:01", dst_mac: "02:00:00:00:00:02", vlan_tag: 0 };
    nodes.mesh.endpoint.context = { ...context(src, dst), ethernet_context, MTU: 1280 };
    const answer = await nodes.mesh.request("a", to);
    const [near, far] = [nodes.linkOf(nodes.client, "nsm-1"), nodes.linkOf(nodes.endpoint, "nse-if")];
    assert.deepEqual([near?.macAddress, far?.macAddress], [ethernet_context.src_mac, ethernet_context.dst_mac]);
    assert.deepEqual([near?.mtuBytes, far?.mtuBytes], [1280, 1280]);
    await nodes.ping(src, dst);
    await nodes.mesh.close("a", answer);
  });

  test(`${to}: an interface that somebody deletes makes the connection DOWN, and a refresh mends it`, async (t) => {
    const nodes = await createNodes(t);
    nodes.mesh.endpoint.context = context(src, dst);
    watch(t, nodes);
    const first = await nodes.mesh.request("a", to);
    inside(nodes.client, (socket) => socket.perform([deleteLink(getLink(socket, "nsm-1")?.index ?? 0)]));
    const state = () => [...nodes.mesh.a.hub.connections()][0]?.state;
    await until("the connection is DOWN", () => state() === State.DOWN);
    const second = await nodes.mesh.request("a", to, { connection: first });
    assert.equal(state(), State.UP);
    await nodes.ping(src, dst);
    await nodes.mesh.close("a", second);
  });

  test(`${to}: another URL of the same namespace changes nothing`, async (t) => {
    const nodes = await createNodes(t);
    nodes.mesh.endpoint.context = context(src, dst);
    const first = await nodes.mesh.request("a", to);
    const index = nodes.linkOf(nodes.client, "nsm-1")?.index;
    const mechanism = withParameters(kernel(inodeUrl(nodes.client)), { name: "nsm-1" });
    const second = await nodes.mesh.request("a", to, { connection: { ...first, mechanism } });
    assert.equal(nodes.linkOf(nodes.client, "nsm-1")?.index, index);
    await nodes.ping(src, dst);
    await nodes.mesh.close("a", second);
  });
}

test("an unnumbered end is a bare interface; the other end has its addresses", async (t) => {
  const nodes = await createNodes(t);
  nodes.mesh.endpoint.context = context(src, dst);
  const preferences = [withParameters(kernel(nodes.client.url), { unnumbered: "true" })];
  const answer = await nodes.mesh.request("a", "remote", { preferences });
  assert.deepEqual(nodes.addressesOf(nodes.client, "nsm-1"), []);
  assert.deepEqual(nodes.addressesOf(nodes.endpoint, "nse-if"), dst);
  await nodes.mesh.close("a", answer);
});

test("rows 1.24, 4.7: over an IPv6 underlay packets flow, and the MTU is 20 bytes less", async (t) => {
  const nodes = await createNodes(t, { tunnels: { a: "fd00::1", b: "fd00::2" } });
  nodes.mesh.endpoint.context = context(src, dst);
  const answer = await nodes.mesh.request("a", "remote");
  await nodes.ping(src, dst);
  assert.deepEqual([nodes.mtuOf(nodes.client, "nsm-1"), nodes.mtuOf(nodes.endpoint, "nse-if")], [1426, 1426]);
  await nodes.mesh.close("a", answer);
});

/** As a running forwarder does: broken links are told to watchers. */
function watch(t: TestContext, { mesh, planes }: Awaited<ReturnType<typeof createNodes>>): void {
  const stop = new AbortController();
  t.after(() => stop.abort());
  void reportBroken({ dataPlane: planes.a, hub: mesh.a.hub, log: silentLog, signal: stop.signal });
}
