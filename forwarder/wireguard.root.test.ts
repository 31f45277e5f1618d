import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { Payload } from "../sdk/api.js";
import { openCapture } from "../sdk/linux/packet-capture.js";
import { findProcess, uapiSocketPath } from "../sdk/linux/wireguard-go.js";
import { Code } from "../sdk/status.js";
import { tcpProbe, tcpServer } from "../sdk/testing/tcp.js";
import { until } from "../sdk/testing/until.js";
import { context, createNodes } from "./testing/kernel-nodes.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";
import { tunnelBackends } from "./testing/tunnel-backends.js";

const backends = await tunnelBackends();
const skip = backends.find(({ backend }) => backend === "program")?.skip ?? "not probed";

const families = [
  { family: "IPv4", src: ["172.16.1.101/32"], dst: ["172.16.1.100/32"] },
  { family: "IPv6", src: ["2001:db8::101/128"], dst: ["2001:db8::100/128"] },
  { family: "dual stack", src: ["172.16.1.101/32", "2001:db8::101/128"], dst: ["172.16.1.100/32", "2001:db8::100/128"] },
];
const underlays = [
  { underlay: "IPv4", tunnels: { a: "198.18.0.1", b: "198.18.0.2" }, mtu: 1440 },
  { underlay: "IPv6", tunnels: { a: "2001:db8:18::1", b: "2001:db8:18::2" }, mtu: 1420 },
];
for (const { backend, by, skip } of backends)
  for (const { underlay, tunnels, mtu } of underlays) {
    for (const { family, src, dst } of underlay === "IPv4" ? families : families.slice(2)) {
      test(`rows 1.3, 1.24: payload IP between nodes, ${family} over ${underlay} by ${by}: ping, TCP, MTU, nothing left after close`, {
        skip,
      }, async (t) => {
        const nodes = await createNodes(t, { tunnels, backend });
        nodes.mesh.endpoint.context = context(src, dst);
        const before = nodes.inventory();
        const answer = await nodes.mesh.request("a", "remote", { payload: "IP" });
        await nodes.ping(src, dst);
        assert.deepEqual([nodes.mtuOf(nodes.client, "nsm-1"), nodes.mtuOf(nodes.endpoint, "nse-if")], [mtu, mtu]);
        assert.equal(answer.context?.MTU, mtu);
        const [host = ""] = dst[0]?.split("/") ?? [];
        await tcpServer(t, nodes.endpoint, [8080]);
        assert.match(await tcpProbe(nodes.client, host, 8080, 5_000), /^open hello /);
        await nodes.mesh.close("a", answer);
        assert.deepEqual(nodes.inventory(), before);
      });
    }
  }

const pair = { src: ["172.16.1.101/32"], dst: ["172.16.1.100/32"] };
type Nodes = Awaited<ReturnType<typeof createNodes>>;

for (const { backend, by, skip } of backends)
  test(`rows 1.3, 8.7: nothing is in clear on the underlay; the same packets without encryption are (by ${by})`, {
    skip,
  }, async (t) => {
    const nodes = await createNodes(t, { backend });
    nodes.mesh.endpoint.context = context(pair.src, pair.dst);
    await tcpServer(t, nodes.endpoint, [8080]);
    for (const payload of [Payload.IP, Payload.ETHERNET]) {
      const wire = openCapture(nodes.b, "under");
      t.after(wire.close);
      const answer = await nodes.mesh.request("a", "remote", { payload });
      await nodes.ping(pair.src, pair.dst);
      assert.match(await tcpProbe(nodes.client, "172.16.1.100", 8080, 5_000), /^open hello /);
      const frames = wire.frames().map(({ bytes }) => bytes);
      const clear = frames.filter((frame) => isClear(frame));
      assert.ok(frames.length > 8, `${frames.length} frames`);
      if (payload === Payload.ETHERNET) assert.ok(clear.length > 8, `${clear.length} of ${frames.length} frames in clear`);
      else {
        assert.deepEqual(clear, []);
        assert.ok(frames.filter(isWireguardData).length > 8, "the packets went this way");
      }
      await nodes.mesh.close("a", answer);
    }
  });

for (const { backend, by, skip } of backends)
  test(`row 7.8: a client that asks anew, unknown to its manager, is refused and does not lose the tunnel it has (by ${by})`, {
    skip,
  }, async (t) => {
    const nodes = await createNodes(t, { backend });
    nodes.mesh.endpoint.context = context(pair.src, pair.dst);
    const before = nodes.inventory();
    const answer = await nodes.mesh.request("a", "remote", { payload: "IP" });
    await nodes.ping(pair.src, pair.dst);
    let asked = 0;
    nodes.mesh.endpoint.interfaceName = () => `nse-${++asked}`;
    const taken = { code: Code.ALREADY_EXISTS, details: /an interface named nsm-1 exists/ };
    const anew = () => nodes.mesh.request("a", "remote", { payload: "IP" });
    await assert.rejects(anew(), taken);
    await Promise.all([assert.rejects(anew(), taken), assert.rejects(anew(), taken)]);
    await nodes.ping(pair.src, pair.dst);
    nodes.mesh.endpoint.interfaceName = () => "nse-if";
    await nodes.mesh.close("a", await nodes.mesh.request("a", "remote", { payload: "IP", connection: answer }));
    assert.deepEqual(nodes.inventory(), before);
  });

for (const { backend, by, skip } of backends)
  test(`row 8.7: a datagram that is sent again is not delivered again (by ${by})`, { skip }, async (t) => {
    const nodes = await createNodes(t, { backend });
    nodes.mesh.endpoint.context = context(pair.src, pair.dst);
    const answer = await nodes.mesh.request("a", "remote", { payload: "IP" });
    await nodes.ping(pair.src, pair.dst);
    const [there, here] = [openCapture(nodes.b, "under"), openCapture(nodes.a, "under")];
    t.after(there.close);
    t.after(here.close);
    const received = () => Number(nodes.linkOf(nodes.endpoint, "nse-if")?.statistics?.rxPackets);
    const before = received();
    await nodes.ping(pair.src, pair.dst);
    // An echo request and an echo reply: one there and back, one back and there.
    await until("both have been received", () => received() === before + 2);
    const data = there.frames().filter(({ outgoing, bytes }) => !outgoing && isWireguardData(bytes));
    assert.ok(data.length >= 2);
    const seen = there.frames().length;
    for (let i = 0; i < 20; i++) for (const { bytes } of data) here.send(bytes);
    await until("they have arrived", () => there.frames().length >= seen + 20 * data.length);
    await nodes.ping(pair.src, pair.dst);
    await until("what was sent later has been received", () => received() >= before + 4);
    assert.equal(received(), before + 4);
    await nodes.mesh.close("a", answer);
  });

for (const { backend, by, skip } of backends)
  for (const family of [4, 6] as const)
    test(`rows 1.3, 8.7: forwarders of both nodes are killed with -9 while encrypted IPv${family} packets flow by ${by}: none is lost, all is removed`, {
      skip,
    }, async (t) => {
      const nodes = await createNodeProcesses(t, { payload: Payload.IP, backend, family });
      const before = nodes.inventory();
      await Promise.all([nodes.a.start(), nodes.b.start()]);
      let connection = await nodes.request("remote");
      const keys = () => [connection.mechanism?.type, ...keysOf(connection)];
      const first = keys();
      const [source, destination] =
        family === 4 ? (["172.16.2.1", "172.16.2.2"] as const) : (["2001:db8:2::1", "2001:db8:2::2"] as const);
      const flow = pingAlong(t, nodes.client.url, source, destination);
      for (const forwarder of [nodes.a, nodes.b]) {
        await flow.more(5);
        await forwarder.kill("SIGKILL");
        await flow.more(20);
        await forwarder.start();
        connection = await nodes.request("remote", connection);
        await flow.more(5);
      }
      assert.deepEqual(keys(), first);
      const { sent, lost } = await flow.stop();
      assert.ok(sent >= 60, `${sent} sent`);
      assert.equal(lost, 0, `of ${sent}`);
      await nodes.close(connection);
      await until("all links are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
    });

test("what a forwarder killed while it makes a tunnel has begun is taken away when it starts again", { skip }, async (t) => {
  const nodes = await createNodeProcesses(t, { payload: Payload.IP });
  const before = nodes.inventory();
  await Promise.all([nodes.a.start(), nodes.b.start()]);
  const asking = nodes.request("remote").catch(() => undefined);
  await until("the near end has a process", () => nodes.tunnelsOn("a") > 0, 20_000);
  await nodes.a.kill("SIGKILL");
  await asking;
  await nodes.a.start();
  await until("the half made tunnel is gone", () => nodes.tunnelsOn("a") === 0, 20_000);
  // The far end lives until it expires there; it ends with the endpoint's namespace.
  const near = (inventory: ReturnType<typeof nodes.inventory>) => JSON.stringify([inventory[0], inventory[2]]);
  await until("its links are gone", () => near(nodes.inventory()) === near(before));
});

test("close ends the processes and removes their sockets and UDP ports; each had an owner in the report", { skip }, async (t) => {
  const nodes = await createNodes(t, { backend: "program" });
  nodes.mesh.endpoint.context = context(pair.src, pair.dst);
  const answer = await nodes.mesh.request("a", "remote", { payload: "IP" });
  const devices = await devicesOf(nodes);
  assert.equal(devices.length, 2);
  for (const device of devices) {
    assert.ok(findProcess(device) !== undefined);
    assert.ok(existsSync(uapiSocketPath(device)));
  }
  for (const plane of Object.values(nodes.planes)) {
    const kinds = (await plane.objects()).map(({ kind }) => kind);
    for (const kind of ["link", "process", "socket", "udp-port"]) assert.ok(kinds.includes(kind), kind);
  }
  await nodes.mesh.close("a", answer);
  for (const device of devices) {
    assert.equal(findProcess(device), undefined);
    assert.ok(!existsSync(uapiSocketPath(device)));
  }
});

test("a process that dies is reported as a broken connection, and the next request mends it", { skip }, async (t) => {
  const nodes = await createNodes(t, { backend: "program" });
  nodes.mesh.endpoint.context = context(pair.src, pair.dst);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const answer = await nodes.mesh.request("a", "remote", { payload: "IP" });
  const events = nodes.planes.a.events(stop.signal)[Symbol.asyncIterator]();
  const broken = events.next();
  const [device = ""] = await devicesOf(nodes);
  process.kill(findProcess(device) ?? 0, "SIGKILL");
  const { value } = await broken;
  assert.match(value?.reason ?? "", /is gone/);
  const again = await nodes.mesh.request("a", "remote", { connection: answer, payload: "IP" });
  await nodes.ping(pair.src, pair.dst);
  await nodes.mesh.close("a", again);
});

test("row 1.1: payload IP on one node needs no tunnel, and payload ETHERNET between nodes keeps VXLAN", async (t) => {
  const nodes = await createNodes(t);
  nodes.mesh.endpoint.context = context(pair.src, pair.dst);
  const local = await nodes.mesh.request("a", "local", { payload: "IP" });
  assert.equal(nodes.linkOf(nodes.client, "nsm-1")?.kind, "veth");
  await nodes.mesh.close("a", local);
  const remote = await nodes.mesh.request("a", "remote");
  assert.equal(nodes.linkOf(nodes.client, "nsm-1")?.kind, "vxlan");
  await nodes.mesh.close("a", remote);
});

/** Names of the devices of all tunnels. */
async function devicesOf({ planes }: Nodes): Promise<string[]> {
  const objects = (await Promise.all(Object.values(planes).map((plane) => plane.objects()))).flat();
  return objects.flatMap(({ kind, name }) => (kind === "process" ? [name.split(" ").at(-1) ?? ""] : []));
}

function keysOf(connection: Awaited<ReturnType<Awaited<ReturnType<typeof createNodeProcesses>>["request"]>>): string[] {
  return (connection.path?.path_segments ?? []).flatMap(({ metrics }) => [
    metrics["client_interface"] ?? "",
    metrics["server_interface"] ?? "",
  ]);
}

/** A frame that shows an address or a word of the workload. */
function isClear(frame: Buffer): boolean {
  const secrets = [Buffer.from([172, 16, 1, 101]), Buffer.from([172, 16, 1, 100]), Buffer.from("hello ")];
  return secrets.some((secret) => frame.includes(secret));
}

/** A transport message (type 4) of WireGuard in UDP over IPv4 over Ethernet. */
function isWireguardData(frame: Buffer): boolean {
  return frame.length > 58 && frame.readUInt16BE(12) === 0x0800 && frame.readUInt8(23) === 17 && frame.readUInt32LE(42) === 4;
}
