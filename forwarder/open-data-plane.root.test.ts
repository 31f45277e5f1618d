/** The data plane as the settings of a forwarder name it, with a DPDK device for tunnels: a virtual one on a veth. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readSettings } from "../sdk/config/table.js";
import { addAddress } from "../sdk/linux/netlink/addresses.js";
import { parsePrefix } from "../sdk/linux/netlink/ip-address.js";
import { createVeth, deleteLink, getLink, setLink } from "../sdk/linux/netlink/links.js";
import { randomMac } from "../sdk/linux/netlink/mac-address.js";
import { openNetlinkSocket } from "../sdk/linux/netlink/socket.js";
import { openOwnNetns, withNetns } from "../sdk/linux/netns.js";
import { Code } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { forwarderSettings } from "./config.js";
import { crossConnect, namespace, noSignal, numbered, stateFolder } from "./dataplane/compliance-world.js";
import type { DataPlane, MemifPort } from "./dataplane/dataplane.js";
import { createKernelDataPlane } from "./dataplane/kernel/kernel.js";
import { nativeFolder } from "./native/ffi.js";
import { notBuilt, runTool, socketName } from "./native/testing/tool.js";
import { openDataPlane } from "./open-data-plane.js";

const skip =
  notBuilt() ??
  (existsSync(join(nativeFolder(), "libweft_dpdk.so"))
    ? false
    : "the core is built without DPDK: apt-get install libdpdk-dev, then npm run build:native");
const here = "198.18.7.11";
const there = "198.18.7.2";

for (const [rows, driver] of [
  ["row 1.8", "net_af_packet0,iface="],
  ["rows 1.8, 1.19", "net_af_xdp0,force_copy=1,iface="],
] as const) {
  test(`${rows}: memif by a forwarder with ${driver.split(",")[0]}, VXLAN, to an interface by the kernel's forwarder`, {
    skip,
  }, async (t) => {
    const world = createWorld(t);
    const plane = await open(t, { WEFT_DPDK_DEVICE: `${driver}${world.linkName}`, WEFT_DPDK_ADDRESS: `${here}/24` });
    assert.equal(plane.tunnelAddress, here);
    assert.equal(await plane.underlayMtuBytes(here), 1500);
    const mechanisms = await plane.mechanisms();
    assert.deepEqual([mechanisms.includes("VXLAN"), mechanisms.includes("WIREGUARD")], [true, false]);
    const row = (await plane.capabilities()).find(({ name }) => name === "dpdk");
    assert.equal(row?.supported, "yes", row?.detail);
    const socketFile = socketName("client");
    const memif: MemifPort = { kind: "memif", role: "server", socketFile, netnsUrl: "" };
    const tunnel = { kind: "vxlan", vni: 77, udpPort: 4799 } as const;
    const change = { mtuBytes: 1450 };
    await plane.ensure(
      crossConnect("a", { client: memif, endpoint: { ...tunnel, localAddress: here, remoteAddress: there } }, change),
      noSignal,
    );
    await world.remote.ensure(
      crossConnect(
        "b",
        { client: { ...tunnel, localAddress: there, remoteAddress: here }, endpoint: numbered(world.pod, world.pod).endpoint },
        change,
      ),
      noSignal,
    );
    const to = ["--from", "172.16.0.1", "--to", "172.16.0.0", "--count", "3", "--interval", "0.02", "--size", "1464"];
    const ping = runTool(t, ["ping", "--socket", socketFile, ...to]);
    assert.equal(await ping.ended, 0, JSON.stringify(ping.lines));
    const counters = await plane.counters("a");
    assert.ok(counters !== undefined && counters.txPackets > 0n && counters.rxPackets > 0n);
    await plane.remove("a", noSignal);
    assert.deepEqual(await plane.objects(), []);
  });
}

test("a DPDK that refuses: the forwarder says why and leaves tunnels to the kernel, or does not start when it is required", {
  skip,
}, async (t) => {
  const device = { WEFT_DPDK_DEVICE: "net_af_packet0,iface=wt-none", WEFT_DPDK_ADDRESS: `${here}/24` };
  const plane = await open(t, device);
  assert.equal(plane.tunnelAddress, undefined);
  assert.ok((await plane.mechanisms()).includes("VXLAN"));
  const row = (await plane.capabilities()).find(({ name }) => name === "dpdk");
  assert.equal(row?.supported, "no");
  assert.match(row.detail, /net_af_packet0,iface=wt-none: no driver takes the device/);
  const refusal = { code: Code.FAILED_PRECONDITION, details: /no driver takes the device/ };
  await assert.rejects(open(t, { ...device, WEFT_DPDK_REQUIRED: "true" }), refusal);
  await assert.rejects(open(t, { ...device, WEFT_DATAPLANE: "kernel" }), { details: /set WEFT_DATAPLANE to auto or fast/ });
});

async function open(t: TestContext, env: Record<string, string>): Promise<DataPlane> {
  const settings = readSettings({ name: "weft forwarder", summary: "" }, forwarderSettings, {
    argv: [],
    env: { WEFT_STATE_DIR: stateFolder(t), ...env },
  });
  assert.ok(settings.ok);
  const plane = await openDataPlane(settings.values, { log: silentLog, env: {} });
  t.after(() => plane.close());
  return plane;
}

/** The other node, behind a veth whose near end has no address of the kernel. */
function createWorld(t: TestContext) {
  const [two, pod] = [namespace(t, "node2"), namespace(t, "endpoint")];
  const own = openOwnNetns();
  const socket = openNetlinkSocket();
  const linkName = `wt${randomBytes(4).toString("hex")}`;
  const end = (netns: typeof own, name: string) => ({ netns, name, macAddress: randomMac(), mtuBytes: 1500 });
  socket.perform([createVeth(end(own, linkName), end(two.netns, "underlay"))]);
  const index = getLink(socket, linkName)?.index ?? 0;
  t.after(() => {
    socket.perform([deleteLink(index)]);
    socket.close();
    own.close();
  });
  socket.perform([setLink(index, { up: true })]);
  const far = getLink(two.socket, "underlay")?.index ?? 0;
  two.socket.perform([setLink(far, { up: true }), addAddress(far, parsePrefix(`${there}/24`))]);
  const remote = withNetns(two.netns, () => createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog }));
  t.after(() => remote.close());
  return { linkName, pod, remote };
}
