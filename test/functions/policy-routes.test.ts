import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { parseAddress, parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { listRoutes, lookUpRoute } from "../../sdk/linux/netlink/routes.js";
import { listRules } from "../../sdk/linux/netlink/rules.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { pings, startOneNode } from "./one-node.js";

const tcp = 6;

test("rows 4.9, 4.10: policy routes of a file are in the client's namespace, and follow an edit within seconds", async (context) => {
  const t = cleanUp(context);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "e")];
  const node = await startOneNode(t);
  const file = join(node.folder, "pbr.yaml");
  writeFileSync(
    file,
    `
- { from: 172.16.2.201/24, proto: 6, dstport: 6666, routes: [{ prefix: 172.16.3.0/24, nexthop: 172.16.2.200 }] }
- { from: "2004::3/120", proto: 17, dstport: 5555, routes: [{ prefix: "2004::5/120", nexthop: "2004::6" }] }
`,
  );
  await node.start("responder", "nse-1", server, {
    NSM_SERVICE_NAMES: "pbr",
    NSM_CIDR_PREFIX: "172.16.1.100/31,fd16:1::/64",
    NSM_PBR_CONFIG_PATH: file,
  });
  await node.start("client", "pod-1", client, { NSM_NETWORK_SERVICES: "kernel://pbr/nsm-1" });
  assert.ok(await pings(client, "172.16.1.101", "172.16.1.100"));
  const socket = openNetlinkSocket(client);
  t.after(() => socket.close());
  assert.equal(ownRules(socket), 2);
  const gateway = (destinationPort: number): string =>
    lookUpRoute(socket, {
      destination: parseAddress("172.16.3.1"),
      source: parseAddress("172.16.2.201"),
      ipProtocol: tcp,
      destinationPort,
    })?.gateway?.bytes.join(".") ?? "none";
  assert.equal(gateway(6666), "172.16.2.200");
  assert.notEqual(gateway(6667), "172.16.2.200");

  writeFileSync(
    file,
    "- { from: 172.16.2.201/24, proto: tcp, dst_port: 6667, routes: [{ prefix: 172.16.3.0/24, nextHop: 172.16.2.199 }] }\n",
  );
  await until("the edit to arrive", () => gateway(6667) === "172.16.2.199");
  assert.notEqual(gateway(6666), "172.16.2.200");
  assert.equal(ownRules(socket), 1);
  writeFileSync(file, "nonsense: [");
  assert.ok(await pings(client, "172.16.1.101", "172.16.1.100"));
  writeFileSync(file, "");
  await until("the rules to go", () => ownRules(socket) === 0);
  const prefix = parsePrefix("172.16.3.0/24");
  assert.ok(!listRoutes(socket, AF_INET).some((route) => prefix.bytes.every((byte, at) => byte === route.prefix.bytes[at])));
});

/** Rules besides the three that every namespace has for IPv4 and the two for IPv6. */
function ownRules(socket: NetlinkSocket): number {
  return ([AF_INET, AF_INET6] as const)
    .flatMap((family) => listRules(socket, family))
    .filter(({ table }) => table < 253 || table > 255).length;
}
