import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { AF_INET } from "../../sdk/linux/libc.js";
import { formatAddress, formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { getLink } from "../../sdk/linux/netlink/links.js";
import { listNeighbors } from "../../sdk/linux/netlink/neighbors.js";
import { listRoutes } from "../../sdk/linux/netlink/routes.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { pings, startOneNode } from "./one-node.js";

test("rows 4.10, 4.11: MAC, MTU, extra context, routes and neighbours of the endpoint reach the client's link, and go", async (context) => {
  const t = cleanUp(context);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "e")];
  const node = await startOneNode(t);
  const [local] = node.domain.nodes;
  const signal = new AbortController().signal;
  let more = true;
  const endpoint = await local.serve({
    name: "nse-1",
    services: ["svc"],
    cidrs: ["172.16.7.0/24"],
    routes: ["10.1.0.0/16"],
    netns: server.url,
    signal,
    customize(connection) {
      const given = connection.context ?? ConnectionContext.fromPartial({});
      const ip_context = given.ip_context && {
        ...given.ip_context,
        src_routes: [
          ...given.ip_context.src_routes.filter(({ prefix }) => prefix !== "10.2.0.0/16"),
          ...(more ? [{ prefix: "10.2.0.0/16", nextHop: "172.16.7.9" }] : []),
        ],
        ip_neighbors: more ? [{ ip: "172.16.7.9", hardware_address: "02:00:00:00:00:09" }] : [],
      };
      const ethernet_context = { src_mac: "02:00:00:00:00:01", dst_mac: "02:00:00:00:00:02", vlan_tag: 0 };
      return { ...connection, context: { ...given, ip_context, ethernet_context, MTU: 1400, extra_context: { rack: "7" } } };
    },
  });
  t.after(() => endpoint.close());
  const connection = await local.connect({ url: "kernel://svc/nsm-1", netnsUrl: client.url, signal });
  t.after(() => connection.close());
  assert.deepEqual({ ...connection.context.extra_context }, { rack: "7" });
  assert.ok(await pings(client, "172.16.7.1", "172.16.7.0"));
  const socket = openNetlinkSocket(client);
  t.after(() => socket.close());
  const link = getLink(socket, "nsm-1") ?? assert.fail("no interface");
  assert.equal(link.macAddress, "02:00:00:00:00:01");
  assert.equal(link.mtuBytes, 1400);
  const routes = (): string[] => listRoutes(socket, AF_INET, link.index).map(({ prefix }) => formatPrefix(prefix));
  const neighbors = (): string[] => listNeighbors(socket, link.index).map(({ address }) => formatAddress(address));
  assert.ok(routes().includes("10.1.0.0/16") && routes().includes("10.2.0.0/16"));
  assert.ok(neighbors().includes("172.16.7.9"));

  more = false;
  endpoint.refresh();
  await until("the route to go", () => !routes().includes("10.2.0.0/16"));
  assert.ok(routes().includes("10.1.0.0/16"));
  assert.ok(!neighbors().includes("172.16.7.9"));
  assert.ok(await pings(client, "172.16.7.1", "172.16.7.0"));
});
