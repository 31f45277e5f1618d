/**
 * Every pair of kinds of ports through a real VPP, on one node and between two with VPP, the kernel or the packet core at the other
 * end: an echo goes from the one end to the other, at full size.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withNetns } from "../../../sdk/linux/netns.js";
import { switchOffChecksumOffload } from "../../../sdk/linux/offload.js";
import { probeWireguard } from "../../../sdk/linux/wireguard-probe.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt } from "../../native/testing/tool.js";
import { findRealVpp } from "../../vpp/testing/real-vpp.js";
import { crossConnect, noSignal, stateFolder, twoNodes } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { createFastDataPlane } from "../fast/fast.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createWorld, type End, ends, key, mtuBytes, pairs, payloads, wireguardEnd } from "../pair-world.js";
import { createVppDataPlane } from "./vpp.js";

const { program, skip: noVpp } = findRealVpp(process.env);
const skip = noVpp || (notBuilt() ?? false);
const wireguard = await probeWireguard();

type Plane = "kernel" | "fast" | "vpp";

for (const payload of payloads) {
  for (const [client, endpoint] of pairs(ends, ends)) {
    test(`rows 1.6, 1.7, 1.10: ${client} to ${endpoint} by VPP on one node, payload ${payload}`, { skip }, async (t) => {
      const world = createWorld(t, payload);
      const plane = openPlane(t, "vpp");
      const ports = { client: world.port("client", client), endpoint: world.port("endpoint", endpoint) };
      await plane.ensure(crossConnect("c1", ports, { payload, mtuBytes }), noSignal);
      await world.echo(client, endpoint);
      const counters = await plane.counters("c1");
      assert.ok(counters !== undefined && counters.txPackets > 0n && counters.rxPackets > 0n);
      await plane.remove("c1", noSignal);
      assert.deepEqual([plane.list(), await plane.objects()], [[], []]);
    });
  }
}

const nodes: readonly (readonly [Plane, Plane])[] = [
  ["vpp", "kernel"],
  ["kernel", "vpp"],
  ["vpp", "fast"],
  ["fast", "vpp"],
  ["vpp", "vpp"],
];
for (const [near, far] of nodes) {
  for (const [client, endpoint] of pairs(endsOf(near), endsOf(far))) {
    test(`row 1.8: ${client} by ${near} to ${endpoint} by ${far} through VXLAN`, { skip }, async (t) => {
      const { one, two, address } = twoNodes(t);
      const world = createWorld(t, "ETHERNET");
      const [first, second] = [one, two].map(({ netns }, index) =>
        withNetns(netns, () => openPlane(t, [near, far][index] as Plane)),
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

for (const [near, far] of nodes.filter((planes) => !planes.includes("fast"))) {
  for (const [client, endpoint] of pairs(endsOf(near), endsOf(far))) {
    const why = skip || (near === far || wireguard.supported === "yes" ? false : wireguard.detail);
    const title = `row 1.9: ${client} by ${near} to ${endpoint} by ${far}, payload IP through WireGuard`;
    test(title, { skip: why }, async (t) => {
      const { one, two, address } = twoNodes(t);
      const world = createWorld(t, "IP");
      // What a network card does with the packets of programs on the node.
      for (const { netns } of [one, two]) withNetns(netns, () => switchOffChecksumOffload("underlay"));
      const [first, second] = [one, two].map(({ netns }, index) =>
        withNetns(netns, () => openPlane(t, [near, far][index] as Plane)),
      );
      assert.ok(first && second);
      const [here, there] = [key(), key()];
      const towards = wireguardEnd(here, there, address(1), address(2));
      const back = wireguardEnd(there, here, address(2), address(1));
      const change = { payload: "IP", mtuBytes } as const;
      await first.ensure(crossConnect("a", { client: world.port("client", client), endpoint: towards }, change), noSignal);
      await second.ensure(crossConnect("b", { client: back, endpoint: world.port("endpoint", endpoint) }, change), noSignal);
      await world.echo(client, endpoint);
      await Promise.all([first.remove("a", noSignal), second.remove("b", noSignal)]);
      assert.deepEqual([await first.objects(), await second.objects()], [[], []]);
    });
  }
}

function openPlane(t: TestContext, plane: Plane): DataPlane {
  const stateDir = stateFolder(t);
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const common = { stateDir, log: silentLog, ephemeral: true };
  const openCore = () => openKeeperCore({ socketPath: join(stateDir, "core"), ephemeral: true });
  const shape = { coreTunnels: true, directMemif: false, alwaysJoin: false };
  const opened =
    plane === "vpp"
      ? createVppDataPlane({ ...common, beneath: kernel, command: [program], directMemif: false })
      : plane === "fast"
        ? createFastDataPlane({ ...common, kernel, openCore, shape })
        : kernel;
  t.after(() => opened.close());
  return opened;
}

function endsOf(plane: Plane): readonly End[] {
  return plane === "kernel" ? ["kernel"] : ends;
}
