/**
 * Every pair of kinds of ports, on one node and between two, with the kernel, the packet core, or both as data planes:
 * an echo goes from the one end to the other, at full size.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withNetns } from "../../../sdk/linux/netns.js";
import { probeWireguard } from "../../../sdk/linux/wireguard-probe.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openInProcessCore } from "../../native/in-process.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt, runTool, socketName } from "../../native/testing/tool.js";
import { publicKeyOf } from "../../wireguard-ends.js";
import {
  crossConnect,
  type Namespace,
  namespace,
  noSignal,
  numbered,
  pings,
  stateFolder,
  twoNodes,
} from "../compliance-world.js";
import type { DataPlane, MemifPort, Port } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";

const skip = notBuilt() ?? false;
const wireguard = await probeWireguard();

type End = "kernel" | "memif";
type Plane = "kernel" | "auto" | "fast";
type Payload = "ETHERNET" | "IP";
const ends: readonly End[] = ["kernel", "memif"];
const payloads: readonly Payload[] = ["ETHERNET", "IP"];
const mtuBytes = 1400;

for (const payload of payloads) {
  for (const [client, endpoint] of pairs(ends, ends)) {
    for (const direct of client === "memif" && endpoint === "memif" ? [true, false] : [true]) {
      const way = direct ? "" : ", through the core";
      test(`rows 1.6, 1.7, 1.11: ${client} to ${endpoint} on one node, payload ${payload}${way}`, { skip }, async (t) => {
        const world = createWorld(t, payload);
        const plane = openPlane(t, "auto", "thread", direct);
        await plane.ensure(
          crossConnect(
            "c1",
            { client: world.port("client", client), endpoint: world.port("endpoint", endpoint) },
            { payload, mtuBytes },
          ),
          noSignal,
        );
        await world.echo(client, endpoint);
        const counters = await plane.counters("c1");
        if (client !== endpoint || !direct)
          assert.ok(counters !== undefined && counters.txPackets > 0n && counters.rxPackets > 0n);
        await plane.remove("c1", noSignal);
        assert.deepEqual([plane.list(), await plane.objects()], [[], []]);
      });
    }
  }
}

for (const [near, far] of pairs<Plane>(["kernel", "auto", "fast"], ["kernel", "auto", "fast"])) {
  for (const [client, endpoint] of pairs(endsOf(near), endsOf(far))) {
    if (near === "kernel" && far === "kernel") continue; // compliance.ts has it
    test(`row 1.8: ${client} by ${near} to ${endpoint} by ${far} through VXLAN`, { skip }, async (t) => {
      const { one, two, address } = twoNodes(t);
      const world = createWorld(t, "ETHERNET");
      const [first, second] = [one, two].map(({ netns }, index) =>
        withNetns(netns, () => openPlane(t, [near, far][index] as Plane, "keeper", true)),
      );
      assert.ok(first && second);
      const tunnel = { kind: "vxlan", vni: 4242, udpPort: 4799 } as const;
      const [here, there] = [address(1), address(2)];
      const towards = { ...tunnel, localAddress: here, remoteAddress: there };
      const back = { ...tunnel, localAddress: there, remoteAddress: here };
      await first.ensure(crossConnect("a", { client: world.port("client", client), endpoint: towards }, { mtuBytes }), noSignal);
      await second.ensure(
        crossConnect("b", { client: back, endpoint: world.port("endpoint", endpoint) }, { mtuBytes }),
        noSignal,
      );
      await world.echo(client, endpoint);
      await Promise.all([first.remove("a", noSignal), second.remove("b", noSignal)]);
      assert.deepEqual([await first.objects(), await second.objects()], [[], []]);
    });
  }
}

for (const [client, endpoint] of pairs(ends, ends)) {
  if (client === "kernel" && endpoint === "kernel") continue; // wireguard.root.test.ts has it
  const why = skip || (wireguard.supported === "yes" ? false : wireguard.detail);
  test(`row 1.9: ${client} to ${endpoint} between nodes, payload IP through WireGuard`, { skip: why }, async (t) => {
    const { one, two, address } = twoNodes(t);
    const world = createWorld(t, "IP");
    const [first, second] = [one, two].map(({ netns }) => withNetns(netns, () => openPlane(t, "auto", "keeper", true)));
    assert.ok(first && second);
    const [here, there] = [key(), key()];
    const tunnel = (own: Key, other: Key, local: 1 | 2): Port => ({
      kind: "wireguard",
      privateKey: own.secret,
      listenPort: 51_900,
      localAddress: address(local),
      remoteAddress: address(local === 1 ? 2 : 1),
      remotePort: 51_900,
      remotePublicKey: other.open,
      madeAtMs: 1,
    });
    const change = { payload: "IP", mtuBytes } as const;
    const ports = { client: world.port("client", client), endpoint: world.port("endpoint", endpoint) };
    await first.ensure(crossConnect("a", { client: ports.client, endpoint: tunnel(here, there, 1) }, change), noSignal);
    await second.ensure(crossConnect("b", { client: tunnel(there, here, 2), endpoint: ports.endpoint }, change), noSignal);
    await world.echo(client, endpoint);
    await Promise.all([first.remove("a", noSignal), second.remove("b", noSignal)]);
  });
}

interface World {
  port(side: "client" | "endpoint", end: End): Port;
  /** From the client's end to the endpoint's. */
  echo(client: End, endpoint: End): Promise<void>;
}

/** Two pods with 172.16.0.1 and 172.16.0.0. */
function createWorld(t: TestContext, payload: Payload): World {
  const pods: Record<"client" | "endpoint", Namespace> = { client: namespace(t, "client"), endpoint: namespace(t, "endpoint") };
  const kernel = numbered(pods.client, pods.endpoint);
  const sockets = { client: socketName("client"), endpoint: socketName("endpoint") };
  const memif = (side: "client" | "endpoint"): MemifPort => ({
    kind: "memif",
    role: side === "client" ? "server" : "client",
    socketFile: sockets[side],
    netnsUrl: pods[side].url,
  });
  const tool = (name: string, side: "client" | "endpoint", ...more: string[]) =>
    runTool(t, [
      name,
      "--socket",
      sockets[side],
      "--netns",
      `/run/netns/${pods[side].name}`,
      ...(payload === "IP" ? ["--ip"] : []),
      ...more,
    ]);
  const frame = mtuBytes + (payload === "IP" ? 0 : 14);
  return {
    port: (side, end) => (end === "memif" ? memif(side) : kernel[side]),
    async echo(client, endpoint) {
      if (endpoint === "memif") tool("echo", "endpoint", "--server", "--interval", "60");
      if (client === "kernel") {
        assert.ok(await answers(() => pings(pods.client, "172.16.0.0")));
        assert.ok(await pings(pods.client, "172.16.0.0", "", mtuBytes - 28), "a full packet");
        return;
      }
      const ping = tool(
        "ping",
        "client",
        "--from",
        "172.16.0.1",
        "--to",
        "172.16.0.0",
        "--count",
        "3",
        "--interval",
        "0.02",
        "--size",
        String(frame),
      );
      assert.equal(await ping.ended, 0, JSON.stringify(ping.lines));
    },
  };
}

/** A peer that has just been started needs a moment to connect. */
async function answers(ask: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 10; tries++) if (await ask()) return true;
  return false;
}

function openPlane(t: TestContext, plane: Plane, where: "thread" | "keeper", directMemif: boolean): DataPlane {
  const stateDir = stateFolder(t);
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const openCore =
    where === "thread"
      ? async () => openInProcessCore()
      : () => openKeeperCore({ socketPath: join(stateDir, "core"), ephemeral: true });
  const shape = { coreTunnels: plane === "fast", directMemif, alwaysJoin: false };
  const opened =
    plane === "kernel" ? kernel : createFastDataPlane({ stateDir, log: silentLog, kernel, openCore, shape, ephemeral: true });
  t.after(() => opened.close());
  return opened;
}

function endsOf(plane: Plane): readonly End[] {
  return plane === "kernel" ? ["kernel"] : ends;
}

function pairs<T>(one: readonly T[], two: readonly T[]): (readonly [T, T])[] {
  return one.flatMap((a) => two.map((b) => [a, b] as const));
}

interface Key {
  readonly secret: string;
  readonly open: string;
}

function key(): Key {
  const secret = randomBytes(32).toString("base64");
  return { secret, open: publicKeyOf(secret) as string };
}
