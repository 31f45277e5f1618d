/** The underlay gets smaller while packets flow: both ends follow, and no large packet disappears for good. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { getLink, listLinks, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { until } from "../../sdk/testing/until.js";
import { startProcessMesh } from "./process-mesh.js";

const url = "kernel://icmp-responder/nsm-1";
const vxlanOverhead = 54;

test("row 1.24: the far node's link is cut to 1360 bytes: interfaces at both ends follow, full packets pass, IPv4 and IPv6", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const endpoint = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
  const connection = await mesh.client(0, { url, livenessIntervalMs: 50, livenessTimeoutMs: 2_000 });
  assert.equal(mtuIn(connection.netns, "nsm-1"), 1500 - vxlanOverhead);
  assert.equal(connection.context.MTU, 1500 - vxlanOverhead);
  const far = mesh.hosts[1] ?? "";
  inside(far, (socket) => socket.perform([setLink(getLink(socket, "eth0")?.index ?? 0, { mtuBytes: 1360 })]));
  const expected = 1360 - vxlanOverhead;
  await until("the client's interface", () => mtuIn(connection.netns, "nsm-1") === expected, 30_000);
  const ofEndpoint = (): number | undefined =>
    inside(endpoint.netns, (socket) => listLinks(socket).find(({ kind }) => kind === "vxlan")?.mtuBytes);
  await until("the endpoint's interface", () => ofEndpoint() === expected, 30_000);
  await until("the client is told", () => connection.context.MTU === expected, 30_000);
  for (const { source, destination } of addressPairs(connection.connection)) {
    const payloadBytes = expected - (destination.includes(":") ? 48 : 28);
    const netnsUrl = `file:///run/netns/${connection.netns}`;
    const signal = new AbortController().signal;
    const answer = await icmpEcho({ netnsUrl, source, destination, payloadBytes, unfragmented: true, timeoutMs: 3_000, signal });
    assert.ok(answer, `a packet of ${expected} bytes to ${destination}`);
  }
});

function mtuIn(netns: string, name: string): number | undefined {
  return inside(netns, (socket) => getLink(socket, name)?.mtuBytes);
}

function inside<T>(name: string, run: (socket: ReturnType<typeof openNetlinkSocket>) => T): T {
  const netns = openNetns(name);
  const socket = openNetlinkSocket(netns);
  try {
    return run(socket);
  } finally {
    socket.close();
    netns.close();
  }
}
