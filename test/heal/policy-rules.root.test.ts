/**
 * What row 7 of the features asks of every healing between two nodes, with payload Ethernet and payload IP: the same packets pass
 * again, the rules of the endpoint's policies are as before, an endpoint that is gone does not answer, nothing is left at the end.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { canEncrypt } from "../../cli/chaos/run.js";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { formatAddress, formatPrefix, parseAddress } from "../../sdk/linux/netlink/ip-address.js";
import { getLink } from "../../sdk/linux/netlink/links.js";
import { lookUpRoute, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { listRules } from "../../sdk/linux/netlink/rules.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { until } from "../../sdk/testing/until.js";
import { connectionsAtHops, healing, listenTo } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";
import { trafficOf } from "./traffic.js";

type Client = ClientConnection & { readonly netns: string };

const timeoutMs = 40_000;
const tcp = 6;
const families = [AF_INET, AF_INET6] as const;
/** Web traffic to these networks takes a way of its own. */
const networks = ["172.31.0.0/16", "fd31::/32"];
const policies = networks.map((prefix) => ({
  from: "",
  proto: String(tcp),
  dst_port: "8080",
  src_port: "",
  routes: [{ prefix, nextHop: "" }],
}));

for (const payload of ["ETHERNET", "IP"] as const) {
  const skip =
    payload === "IP" &&
    !canEncrypt() &&
    "payload IP between nodes needs wireguard-go and /dev/net/tun: apt-get install wireguard-go";
  test(`rows 7.1, 7.2, 7.3: payload ${payload} between nodes: components and then the endpoint die, rules of policies stay, nothing leaks`, {
    skip,
  }, async (t) => {
    const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", policies });
    const [near, far] = mesh.nodes;
    assert.ok(near && far);
    const services = mesh.dialer.serviceRegistry(near.url);
    await services.register(NetworkService.fromPartial({ name: "web", payload }), { signal: AbortSignal.timeout(10_000) });
    const dying = await mesh.endpoint(1, "nse-1", "web", "172.16.1.0/24,fd16:1::/64");
    const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 2_000 };
    const client = await mesh.client(0, { url: "kernel://web/nsm-1", ...probe });
    const socket = openNetlinkSocketIn(client.netns);
    t.after(() => socket.close());
    const rules = rulesIn(socket);
    const pairs = addressPairs(client.connection);
    assert.deepEqual([rules.length, pairs.length], [2, 2]);

    for (const component of [near.forwarder, far.forwarder, near.nsmgr, far.nsmgr]) {
      const heard = listenTo(client);
      const traffic = trafficOf(client);
      await component.kill();
      await component.start();
      await until(`healing after ${component.name}`, () => heard.at(-1) === "healed", timeoutMs);
      const { sent, lost } = await traffic.stop();
      t.diagnostic(`${component.name}: ${lost} lost of ${sent}`);
      assert.equal(lost, 0, component.name);
      assert.deepEqual(addressPairs(client.connection), pairs);
      assert.deepEqual(await answers(client), [true, true], component.name);
      assert.deepEqual(rulesIn(socket), rules, component.name);
    }

    await t.test(
      "row 7.2: the other node's manager and the endpoint go and stay away: the connection moves to this node",
      async () => {
        const healed = healing(client);
        await Promise.all([far.nsmgr.kill(), dying.kill()]);
        mesh.removePod(dying.netns);
        await until(
          "the endpoint that is gone to be silent",
          async () => (await answers(client)).every((answered) => !answered),
          timeoutMs,
        );
        await mesh.endpoint(0, "nse-2", "web", "172.16.2.0/24,fd16:2::/64");
        const { how, tookMs } = await healed;
        t.diagnostic(`healed by ${how} ${tookMs} ms after the first sign`);
        assert.equal(client.connection.network_service_endpoint_name, "nse-2");
        assert.deepEqual(client.context.ip_context?.src_ip_addrs, ["172.16.2.1/32", "fd16:2::1/128"]);
        assert.deepEqual(await answers(client), [true, true]);
        assert.deepEqual(rulesIn(socket), rules);
      },
    );

    await t.test("the connection is closed: no interface, rule or connection is left", async () => {
      await far.nsmgr.start();
      await client.close();
      assert.deepEqual([getLink(socket, "nsm-1"), rulesIn(socket)], [undefined, []]);
      await until(
        "every hop to have forgotten it",
        async () => (await connectionsAtHops(mesh)).every((count) => count === 0),
        timeoutMs,
      );
    });
  });
}

/** Whether each pair of addresses is answered. */
function answers(client: Client): Promise<boolean[]> {
  const netnsUrl = `file:///run/netns/${client.netns}`;
  const { signal } = new AbortController();
  const echo = async (pair: { readonly source: string; readonly destination: string }): Promise<boolean> =>
    (await icmpEcho({ netnsUrl, ...pair, timeoutMs: 1_000, signal })) !== undefined;
  return Promise.all(addressPairs(client.connection).map(echo));
}

/** Our rules in that namespace, and where they lead: web traffic to each network, and other traffic beside it. */
function rulesIn(socket: NetlinkSocket): string[] {
  const rules = families.flatMap((family) => listRules(socket, family)).filter(({ protocol }) => protocol === weftProtocol);
  return rules.map(({ family, priority, ipProtocol, destinationPorts, from }) => {
    const network = networks[family === AF_INET ? 0 : 1] ?? "";
    const ways = [8080, 8081].map((destinationPort) => {
      const destination = parseAddress(network.slice(0, network.indexOf("/")));
      const route = lookUpRoute(socket, { destination, ipProtocol: tcp, destinationPort });
      return route === undefined
        ? "none"
        : `${formatPrefix(route.prefix)} ${route.gateway ? formatAddress(route.gateway) : "direct"}`;
    });
    return JSON.stringify([family, priority, ipProtocol, destinationPorts, from && formatPrefix(from), ways]);
  });
}

function openNetlinkSocketIn(netns: string): NetlinkSocket {
  const handle = openNetns(netns);
  try {
    return openNetlinkSocket(handle);
  } finally {
    handle.close();
  }
}
