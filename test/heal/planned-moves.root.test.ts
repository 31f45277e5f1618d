/** Planned changes under a thousand packets a second: the new path is made beside the old one, and no packet is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { drain } from "../../cli/commands/drain.js";
import type { CliContext } from "../../cli/context.js";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { getLink, listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { until } from "../../sdk/testing/until.js";
import { connectionsAtHops, healing } from "./listen.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { startSteadyPackets } from "./steady-packets.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 500 };
type Client = ClientConnection & { readonly netns: string };

test("rows 7.3, 7.15: an endpoint gets SIGTERM, the service is edited: two nodes, both families, 0 packets lost", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const blue = await mesh.endpoint(1, "nse-blue", service, "172.16.1.0/24,fd00:1::/64", { colour: "blue" });
  const connection = await mesh.client(0, { url, ...probe });
  await mesh.endpoint(0, "nse-green", service, "172.16.2.0/24,fd00:2::/64", { colour: "green" });
  for (const family of [0, 1]) {
    assert.ok(addressPairs(connection.connection)[family]);
  }

  await t.test("SIGTERM of the endpoint on the other node", async () => {
    await moves(connection, () => blue.kill("SIGTERM"));
    assert.equal(connection.connection.network_service_endpoint_name, "nse-green");
  });
  await mesh.endpoint(1, "nse-red", service, "172.16.3.0/24,fd00:3::/64", { colour: "red" });
  await t.test("row 2.11: the service is edited so that another endpoint matches", async () => {
    await moves(connection, () => edit(mesh, "red"));
    assert.equal(connection.connection.network_service_endpoint_name, "nse-red");
  });
  await t.test("weft drain node: what it serves to others moves away; --undo", async () => {
    await edit(mesh, undefined);
    await moves(connection, () => weftDrain(mesh, 1, "node"));
    assert.equal(connection.connection.network_service_endpoint_name, "nse-green");
    assert.match(await weftDrain(mesh, 1, "node", "--undo"), /takes connections again/);
  });
  await t.test("weft drain endpoint", async () => {
    await moves(connection, () => weftDrain(mesh, 0, "endpoint", "nse-green"));
    assert.equal(connection.connection.network_service_endpoint_name, "nse-red");
  });
  await t.test("weft drain forwarder, on the client's node and on the endpoint's", async () => {
    for (const [node, near] of mesh.nodes.entries()) {
      await mesh.anotherForwarder(node);
      await moves(connection, () => weftDrain(mesh, node, "forwarder", near.forwarder.name));
      const names = connection.connection.path?.path_segments.map(({ name }) => name);
      assert.ok(!names?.includes(near.forwarder.name), names?.join(" "));
      assert.equal(connection.connection.network_service_endpoint_name, "nse-red");
    }
  });
  await t.test("row 1.30: nothing of the old paths is left", async () => {
    const expected = "1,0,1,0"; // each manager one; the drained forwarders none
    await until("nothing at the drained hops", async () => (await connectionsAtHops(mesh)).join() === expected);
    const netns = openNetns(connection.netns);
    const socket = openNetlinkSocket(netns);
    const names = listLinks(socket).map(({ name }) => name);
    assert.deepEqual(names.toSorted(), ["lo", "nsm-1"]);
    assert.ok(getLink(socket, "nsm-1")?.up);
    socket.close();
    netns.close();
  });
});

/** The command, asked of one node. */
async function weftDrain(mesh: ProcessMesh, index: number, kind: string, ...rest: readonly string[]): Promise<string> {
  const node = mesh.nodes[index];
  assert.ok(node);
  const name = rest.find((word) => !word.startsWith("-")) ?? node.url;
  const written: string[] = [];
  const out = { write: (text: string) => written.push(text) };
  const env = { WEFT_INSECURE: "true" };
  const context: CliContext = { out, err: out, env, self: ["false"], signal: AbortSignal.timeout(30_000) };
  const undo = rest.includes("--undo");
  assert.equal(await drain(kind, name, { nsmgr: [node.url], timeout: "20s", undo }, context), 0, written.join(""));
  return written.join("");
}

/** Sends on both families while `change` moves the connection. */
async function moves(connection: Client, change: () => Promise<unknown>): Promise<void> {
  const netnsUrl = `file:///run/netns/${connection.netns}`;
  const streams = [0, 1].map((family) =>
    startSteadyPackets({
      netnsUrl,
      packetsPerSecond: family === 0 ? 1_000 : 100,
      addresses: () => addressPairs(connection.connection)[family] ?? { source: "", destination: "" },
    }),
  );
  await until("packets", () => streams.every((stream) => stream.sent() > 50));
  const healed = healing(connection);
  await change();
  const { how, tookMs } = await healed;
  assert.equal(how, "beside");
  await until("the interface has its name back", () => connection.interfaceName === "nsm-1");
  const after = streams.map((stream) => stream.sent());
  await until("more packets", () => streams.every((stream, index) => stream.sent() > (after[index] ?? 0) + 50));
  for (const stream of streams) {
    const { sent, lost, lostNumbers, refused } = await stream.stop();
    assert.equal(lost, 0, `of ${sent}: ${lostNumbers.join(" ")} ${JSON.stringify(refused)}; moved in ${tookMs} ms`);
  }
}

/** Undefined: every endpoint matches. */
async function edit(mesh: ProcessMesh, colour: string | undefined): Promise<void> {
  const matches = colour === undefined ? [] : [{ routes: [{ destination_selector: { colour } }] }];
  const entry = NetworkService.fromPartial({ name: service, payload: "ETHERNET", matches });
  await mesh.dialer.serviceRegistry(mesh.nodes[0]?.url ?? "").register(entry, { signal: AbortSignal.timeout(10_000) });
}
