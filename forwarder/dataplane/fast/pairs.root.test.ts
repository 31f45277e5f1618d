/**
 * Every pair of kinds of ports, on one node and between two, with the kernel, the packet core, or both as data planes:
 * an echo goes from the one end to the other, at full size.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withNetns } from "../../../sdk/linux/netns.js";
import { probeWireguard } from "../../../sdk/linux/wireguard-probe.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openInProcessCore } from "../../native/in-process.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt } from "../../native/testing/tool.js";
import { crossConnect, noSignal, stateFolder, twoNodes } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createWorld, type End, ends, key, mtuBytes, pairs, payloads, wireguardEnd } from "../pair-world.js";
import { createFastDataPlane } from "./fast.js";

const skip = notBuilt() ?? false;
const wireguard = await probeWireguard();

type Plane = "kernel" | "auto" | "fast";

for (const payload of payloads) {
  for (const [client, endpoint] of pairs(ends, ends)) {
    for (const direct of client === "memif" && endpoint === "memif" ? [true, false] : [true]) {
      const way = direct ? "" : ", through the core";
      test(`rows 1.6, 1.7, 1.10, 1.11: ${client} to ${endpoint} on one node, payload ${payload}${way}`, { skip }, async (t) => {
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
    const change = { payload: "IP", mtuBytes } as const;
    const ports = { client: world.port("client", client), endpoint: world.port("endpoint", endpoint) };
    await first.ensure(
      crossConnect("a", { client: ports.client, endpoint: wireguardEnd(here, there, address(1), address(2)) }, change),
      noSignal,
    );
    await second.ensure(
      crossConnect("b", { client: wireguardEnd(there, here, address(2), address(1)), endpoint: ports.endpoint }, change),
      noSignal,
    );
    await world.echo(client, endpoint);
    await Promise.all([first.remove("a", noSignal), second.remove("b", noSignal)]);
  });
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
