/** What a restarted data plane takes for living when tunnels of one client look alike. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Payload } from "../../../sdk/api.js";
import { withNetns } from "../../../sdk/linux/netns.js";
import { endWireguardGo } from "../../../sdk/linux/wireguard-go.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { tunnelBackends } from "../../testing/tunnel-backends.js";
import { crossConnect, linkIn, namespace, noSignal, numbered, stateFolder, twoNodes } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { key, wireguardEnd } from "../pair-world.js";
import { createKernelDataPlane } from "./kernel.js";

const skip = (await tunnelBackends()).find(({ backend }) => backend === "program")?.skip ?? "not probed";

test("rows 1.29, 7.1: a tunnel whose process has ended is not taken up again because another one of its client lives", {
  skip,
}, async (t) => {
  const { one, address } = twoNodes(t);
  const endpoint = namespace(t, "endpoint");
  const stateDir = stateFolder(t);
  const open: DataPlane[] = [];
  const start = (): DataPlane => {
    const plane = withNetns(one.netns, () => createKernelDataPlane({ stateDir, log: silentLog, tunnels: "program" }));
    open.push(plane);
    return plane;
  };
  t.after(async () => {
    for (const plane of open) {
      for (const { id } of plane.list()) await plane.remove(id, noSignal);
      await plane.close();
    }
  });
  const first = start();
  const ensure = (id: string, number: number): Promise<void> => {
    const tunnel = wireguardEnd(key(), key(), address(1), address(2));
    const side = { ...numbered(endpoint, endpoint, number).endpoint, interfaceName: `nse-${number}` };
    const ports = { client: { ...tunnel, listenPort: tunnel.listenPort + number }, endpoint: side };
    return first.ensure(crossConnect(id, ports, { payload: Payload.IP }), noSignal);
  };
  await ensure("dead", 1);
  await ensure("living", 2);
  const objects = await first.objects();
  const process = objects.find(({ kind, connectionId }) => kind === "process" && connectionId === "dead");
  const device = /wireguard-go -f (\S+)/.exec(process?.name ?? "")?.[1] ?? assert.fail("no process is told");
  await endWireguardGo(device);
  assert.equal(linkIn(endpoint, "nse-1"), undefined);
  await open.pop()?.close();

  const second = start();
  const { adopted, lost } = await second.recover(0);
  assert.deepEqual([adopted.map(({ id }) => id), lost.map(({ id }) => id)], [["living"], ["dead"]]);
  assert.deepEqual([...new Set((await second.objects()).map(({ connectionId }) => connectionId))], ["living"]);
  assert.ok(linkIn(endpoint, "nse-2"));
});
