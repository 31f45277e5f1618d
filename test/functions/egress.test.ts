import assert from "node:assert/strict";
import { test } from "node:test";
import { createPlainLink, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { tcpProbe, tcpServer } from "../../sdk/testing/tcp.js";
import { until } from "../../sdk/testing/until.js";
import { interfaces, pings, startOneNode } from "./one-node.js";

const signal = new AbortController().signal;

for (const uplink of ["macvlan", "bridge"] as const) {
  test(`a client leaves the mesh through a gateway with a ${uplink} uplink, under the gateway's address`, async (context) => {
    const t = cleanUp(context);
    const [client, other] = [temporaryNetns(t, "c"), temporaryNetns(t, "o")];
    const [gateway, host, router] = [temporaryNetns(t, "g"), temporaryNetns(t, "h"), temporaryNetns(t, "r")];
    // The router knows its own two networks and nothing of the mesh, so only translated packets find back.
    joinNetns(
      { netns: router, name: "lan0", addresses: ["203.0.113.1/24", "2001:db8::1/64", "198.51.100.1/32", "2001:db8:1::1/128"] },
      { netns: host, name: "port0" },
    );
    if (uplink === "bridge") makeBridge(host, "br0", "port0");
    const node = await startOneNode(t);
    const running = await node.start("egress", "gateway-1", gateway, {
      NSM_CIDR_PREFIX: "10.44.0.0/24,fd44::/64",
      WEFT_UPLINK: "up0",
      WEFT_UPLINK_PARENT: uplink === "bridge" ? "br0" : "port0",
      WEFT_UPLINK_PARENT_NETNS: host.url,
      WEFT_UPLINK_ADDRESSES: "203.0.113.2/24,2001:db8::2/64",
      WEFT_UPLINK_ROUTERS: "203.0.113.1,2001:db8::1",
    });
    await node.start("client", "client-1", client, { NSM_NETWORK_SERVICES: "kernel://egress/nsm-1" });
    await node.start("client", "client-2", other, { NSM_NETWORK_SERVICES: "kernel://egress/nsm-1" });

    await tcpServer(t, router, [8080]);
    await until("the way out", () => pings(client, "10.44.0.1", "198.51.100.1"));
    assert.ok(await pings(client, "fd44::1", "2001:db8:1::1"));
    assert.equal(await tcpProbe(client, "198.51.100.1", 8080, 10_000), "open hello ::ffff:203.0.113.2");
    assert.equal(await tcpProbe(client, "2001:db8:1::1", 8080, 10_000), "open hello 2001:db8::2");
    assert.equal(await pings(client, "10.44.0.1", "10.44.0.3"), false, "clients do not reach each other");
    const { facts } = await node.domain.dialer.inspect(running.url).getReport({ section: "counters" }, { signal });
    assert.ok(Number(facts.find(({ name }) => name.startsWith("from clients"))?.value) > 4);

    assert.equal(await running.stop(), 0);
    assert.ok(!interfaces(gateway).includes("up0"), "the uplink is gone");
    assert.deepEqual(interfaces(host), uplink === "bridge" ? ["br0", "port0"] : ["port0"]);
  });
}

function makeBridge(netns: TestNetns, name: string, port: string): void {
  const socket = openNetlinkSocket(netns);
  socket.perform([createPlainLink(name, "bridge")]);
  const bridge = getLink(socket, name)?.index ?? 0;
  socket.perform([setLink(bridge, { up: true }), setLink(getLink(socket, port)?.index ?? 0, { masterIndex: bridge })]);
  socket.close();
}
