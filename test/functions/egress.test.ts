import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { createPlainLink, getLink, listLinks, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { tcpProbe, tcpServer } from "../../sdk/testing/tcp.js";
import { until } from "../../sdk/testing/until.js";
import { startDomain } from "../../testing/start-domain.js";
import { startWorkload } from "./workloads.js";

const signal = new AbortController().signal;

for (const uplink of ["macvlan", "bridge"] as const) {
  test(`a client leaves the mesh through a gateway with a ${uplink} uplink, under the gateway's address`, async (context) => {
    const t = cleanUp(context);
    const folder = mkdtempSync(join(tmpdir(), "wt-fn-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const [client, other] = [temporaryNetns(t, "c"), temporaryNetns(t, "o")];
    const [gateway, host, router] = [temporaryNetns(t, "g"), temporaryNetns(t, "h"), temporaryNetns(t, "r")];
    // The router knows its own two networks and nothing of the mesh, so only translated packets find back.
    joinNetns(
      { netns: router, name: "lan0", addresses: ["203.0.113.1/24", "2001:db8::1/64", "198.51.100.1/32", "2001:db8:1::1/128"] },
      { netns: host, name: "port0" },
    );
    if (uplink === "bridge") makeBridge(host, "br0", "port0");
    const domain = await startDomain({ dataplane: "kernel" });
    t.after(() => domain.stop());
    const [{ url: nsmgr }] = domain.nodes;
    const start = (kind: "egress" | "client", name: string, env: Record<string, string>) =>
      startWorkload(t, kind, {
        url: `unix://${folder}/${name}.sock`,
        dialer: domain.dialer,
        env: { NSM_CONNECT_TO: nsmgr, NSM_NAME: name, ...env },
      });
    const running = await start("egress", "gateway-1", {
      NSM_CIDR_PREFIX: "10.44.0.0/24,fd44::/64",
      WEFT_NETNS: gateway.url,
      WEFT_STATE_DIR: folder,
      WEFT_UPLINK: "up0",
      WEFT_UPLINK_PARENT: uplink === "bridge" ? "br0" : "port0",
      WEFT_UPLINK_PARENT_NETNS: host.url,
      WEFT_UPLINK_ADDRESSES: "203.0.113.2/24,2001:db8::2/64",
      WEFT_UPLINK_ROUTERS: "203.0.113.1,2001:db8::1",
    });
    await start("client", "client-1", { NSM_NETWORK_SERVICES: "kernel://egress/nsm-1", WEFT_NETNS: client.url });
    await start("client", "client-2", { NSM_NETWORK_SERVICES: "kernel://egress/nsm-1", WEFT_NETNS: other.url });

    await tcpServer(t, router, [8080]);
    await until("the way out", () => pings(client, "10.44.0.1", "198.51.100.1"));
    assert.ok(await pings(client, "fd44::1", "2001:db8:1::1"));
    assert.equal(await tcpProbe(client, "198.51.100.1", 8080, 10_000), "open hello ::ffff:203.0.113.2");
    assert.equal(await tcpProbe(client, "2001:db8:1::1", 8080, 10_000), "open hello 2001:db8::2");
    assert.equal(await pings(client, "10.44.0.1", "10.44.0.3"), false, "clients do not reach each other");
    const { facts } = await domain.dialer.inspect(running.url).getReport({ section: "counters" }, { signal });
    assert.ok(Number(facts.find(({ name }) => name.startsWith("from clients"))?.value) > 4);

    assert.equal(await running.stop(), 0);
    assert.ok(!names(gateway).includes("up0"), "the uplink is gone");
    assert.deepEqual(names(host).sort(), uplink === "bridge" ? ["br0", "lo", "port0"] : ["lo", "port0"]);
    assert.ok(readdirSync(folder).length > 0);
  });
}

function makeBridge(netns: TestNetns, name: string, port: string): void {
  const socket = openNetlinkSocket(netns);
  socket.perform([createPlainLink(name, "bridge")]);
  const bridge = getLink(socket, name)?.index ?? 0;
  socket.perform([setLink(bridge, { up: true }), setLink(getLink(socket, port)?.index ?? 0, { masterIndex: bridge })]);
  socket.close();
}

function names(netns: TestNetns): string[] {
  const socket = openNetlinkSocket(netns);
  const found = listLinks(socket).map(({ name }) => name);
  socket.close();
  return found;
}

async function pings(netns: TestNetns, source: string, destination: string): Promise<boolean> {
  return (await icmpEcho({ netnsUrl: netns.url, source, destination, timeoutMs: 1_000, signal })) !== undefined;
}
