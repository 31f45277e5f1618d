import assert from "node:assert/strict";
import { test } from "node:test";
import { Payload } from "../sdk/api.js";
import type { Connection } from "../sdk/gen/connection.js";
import { openCapture } from "../sdk/linux/packet-capture.js";
import { startUdpFlow } from "../sdk/testing/udp-flow.js";
import { until } from "../sdk/testing/until.js";
import type { CrossConnect, WireguardPort } from "./dataplane/dataplane.js";
import { context, createNodes } from "./testing/kernel-nodes.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";
import { tunnelBackends } from "./testing/tunnel-backends.js";

const rounds = 3;
/** A slow machine, such as an emulated one, cannot do so many. */
const perSecond = Number(process.env["WEFT_TEST_PACKETS_PER_SECOND"] ?? 1_000);
const few = perSecond / 5;
const mark = "not for everybody";

type Nodes = Awaited<ReturnType<typeof createNodes>>;

const cases = [
  {
    what: "IPv4 in IPv4",
    tunnels: { a: "198.18.0.1", b: "198.18.0.2" },
    src: "172.16.1.101/32",
    dst: "172.16.1.100/32",
    mtu: 1440,
  },
  {
    what: "IPv6 in IPv4",
    tunnels: { a: "198.18.0.1", b: "198.18.0.2" },
    src: "2001:db8::101/128",
    dst: "2001:db8::100/128",
    mtu: 1440,
  },
  {
    what: "IPv4 in IPv6",
    tunnels: { a: "2001:db8:18::1", b: "2001:db8:18::2" },
    src: "172.16.1.101/32",
    dst: "172.16.1.100/32",
    mtu: 1420,
  },
];

const backends = await tunnelBackends();
for (const { backend, by, skip } of backends)
  for (const { what, tunnels, src, dst, mtu } of cases) {
    test(`rows 1.3, 8.7: static keys are rotated ${rounds} times under ${perSecond} packets a second, ${what} by ${by}: none is lost, none in clear`, {
      skip,
    }, async (t) => {
      const keyRotation = { periodMs: 0, oldUntilMs: -1, nowMs: Date.now, drainMs: 300 };
      const nodes = await createNodes(t, { tunnels, keyRotation, backend });
      nodes.mesh.endpoint.context = context([src], [dst]);
      const before = nodes.inventory();
      let connection = await nodes.mesh.request("a", "remote", { payload: "IP" });
      await nodes.ping([src], [dst]);
      const wire = openCapture(nodes.b, "under");
      t.after(wire.close);
      const [address = ""] = dst.split("/");
      const flow = await startUdpFlow(t, { from: nodes.client, to: nodes.endpoint, address, port: 4000, perSecond, mark });
      await flow.more(few);
      const keys = [portOf(nodes).privateKey];
      for (let round = 0; round < rounds; round++) {
        keyRotation.oldUntilMs = Date.now();
        connection = await refresh(nodes, connection);
        assert.notEqual(
          portOf(nodes).privateKey,
          keys.at(-1),
          `round ${round}: ${JSON.stringify(connection.mechanism?.parameters)}`,
        );
        keys.push(portOf(nodes).privateKey);
        await flow.more(few);
        await until("the old tunnel has gone on both sides", async () => {
          connection = await refresh(nodes, connection);
          return [...nodes.planes.a.list(), ...nodes.planes.b.list()].every(isSingle);
        });
        await flow.more(few);
        wire.frames();
      }
      assert.equal(new Set(keys).size, rounds + 1, "each round has keys of its own");
      const { sent, lost } = await flow.stop();
      assert.ok(sent > 2 * rounds * few, `${sent} sent`);
      assert.equal(lost, 0, `of ${sent}`);
      const frames = wire.frames();
      assert.ok(frames.length >= 2 * sent, `${frames.length} frames`);
      assert.equal(frames.filter(({ bytes }) => bytes.includes(mark)).length, 0);
      assert.deepEqual([nodes.mtuOf(nodes.client, "nsm-1"), nodes.mtuOf(nodes.endpoint, "nse-if")], [mtu, mtu]);
      const counted = await nodes.planes.a.counters(nodes.planes.a.list()[0]?.id ?? "");
      assert.ok(Number(counted?.rxPackets) >= sent, `${counted?.rxPackets} counted over all tunnels, ${sent} sent`);
      await nodes.mesh.close("a", connection);
      assert.deepEqual(nodes.inventory(), before);
    });
  }

for (const { backend, by, skip } of backends) {
  test(`row 8.7: forwarders killed with -9 in the middle of rotations asked for by a signal go on where they were, by ${by}: none is lost`, {
    skip: skip || (backend === "kernel" && "counts processes; the kernel has none"),
  }, async (t) => {
    const nodes = await createNodeProcesses(t, { payload: Payload.IP, backend, env: { WEFT_WIREGUARD_KEY_PERIOD: "0s" } });
    const before = nodes.inventory();
    await Promise.all([nodes.a.start(), nodes.b.start()]);
    let connection = await nodes.request("remote");
    const flow = pingAlong(t, nodes.client.url, "172.16.2.1", "172.16.2.2");
    const tunnels = () => [nodes.tunnelsOn("a"), nodes.tunnelsOn("b")].join();
    const refreshUntil = async (wanted: string): Promise<void> => {
      await until(
        `${wanted} tunnels`,
        async () => {
          connection = await nodes.request("remote", connection);
          return tunnels() === wanted;
        },
        60_000,
      );
    };
    assert.equal(tunnels(), "1,1");
    for (const killed of [nodes.a, nodes.b]) {
      process.kill(nodes.a.pid ?? 0, "SIGUSR2");
      await refreshUntil("2,2");
      await killed.kill("SIGKILL");
      await flow.more(5);
      await killed.start();
      await refreshUntil("1,1");
      await flow.more(5);
    }
    process.kill(nodes.a.pid ?? 0, "SIGUSR2");
    // again where the request was there before the signal
    const asking = (async () => {
      while (tunnels() === "1,1") await nodes.request("remote", connection).catch(() => undefined);
    })();
    await until("a second tunnel is being built", () => tunnels() !== "1,1", 20_000);
    await nodes.a.kill("SIGKILL");
    await asking;
    await nodes.a.start();
    await refreshUntil("1,1");
    const { sent, lost } = await flow.stop();
    assert.ok(sent >= 30, `${sent} sent`);
    assert.equal(lost, 0, `of ${sent}`);
    await nodes.close(connection);
    await until("all links are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
  });
}

async function refresh(nodes: Nodes, connection: Connection): Promise<Connection> {
  return await nodes.mesh.request("a", "remote", { payload: "IP", connection });
}

function isSingle({ client, endpoint }: CrossConnect): boolean {
  return [client, endpoint].every((port) => port.kind !== "wireguard" || port.beside === undefined);
}

function portOf({ planes }: Nodes): WireguardPort {
  const port = planes.a.list()[0]?.endpoint;
  assert.ok(port?.kind === "wireguard");
  return port;
}
