/** Devices by DPDK in the core, without hugepages and without a NIC: tunnels over them to the kernel's VXLAN, and what goes wrong. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { withNetns } from "../../sdk/linux/netns.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { crossConnect, namespace, noSignal, numbered, pings, stateFolder, twoNodes } from "../dataplane/compliance-world.js";
import { createKernelDataPlane } from "../dataplane/kernel/kernel.js";
import type { DeviceState } from "./board.js";
import type { CoreDevice, PacketCore } from "./core.js";
import { nativeFolder } from "./ffi.js";
import { openInProcessCore } from "./in-process.js";
import { openKeeperCore } from "./keeper-client.js";
import { notBuilt, runTool, socketName } from "./testing/tool.js";

const skip =
  notBuilt() ??
  (existsSync(join(nativeFolder(), "libweft_dpdk.so"))
    ? false
    : "the core is built without DPDK: apt-get install libdpdk-dev, then npm run build:native");

/** How a virtual device takes the link of a node, by DPDK's driver. */
const drivers = {
  "net_af_packet over IPv4": { spec: "net_af_packet0,iface=underlay", family: "v4" },
  "net_af_packet over IPv6": { spec: "net_af_packet0,iface=underlay", family: "v6" },
  "net_af_xdp over IPv4": { spec: "net_af_xdp0,iface=underlay,force_copy=1", family: "v4" },
} as const;

for (const [name, { spec, family }] of Object.entries(drivers)) {
  test(`row 1.8: memif through the core, DPDK's ${name}, VXLAN, to an interface by the kernel`, { skip }, async (t) => {
    const { core, ping, pod, socket, tunnel } = await crossNodes(t, spec, family);
    await ping();
    runTool(t, ["echo", "--socket", socket]);
    let answered = false;
    for (let tries = 0; tries < 10 && !answered; tries++) answered = await pings(pod, "172.16.0.1", "", 1372);
    assert.ok(answered, `the endpoint reaches the client: ${JSON.stringify(core.board.device(0), show)}`);
    const { sent, received, neighbours } = core.board.device(0);
    assert.ok(sent > 3n && received > 3n && neighbours === 1, `${sent} ${received} ${neighbours}`);
    const { packets, dropFull } = core.board.direction(tunnel, "ab");
    assert.ok(packets > 0n, `${packets} ${dropFull}`);
  });
}

test("a worker that dies is replaced, and the next one starts DPDK anew: traffic goes on", { skip }, async (t) => {
  const { core, ping } = await crossNodes(t, drivers["net_af_packet over IPv4"].spec, "v4");
  await ping();
  for (let life = 0; life < 2; life++) {
    const { pid, starts } = core.board.worker();
    process.kill(pid, "SIGKILL");
    await until(core, () => core.board.worker().starts > starts && core.board.device(0).state === "ready");
    await ping();
  }
});

test("while DPDK starts, memif goes on", { skip }, async (t) => {
  const core = await keeper(t);
  const [a, b] = [socketName("a"), socketName("b")];
  const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
  const portA = await core.addPort({ ...memif, name: "a", path: a });
  const portB = await core.addPort({ ...memif, name: "b", path: b });
  const slot = await core.setConnect({ name: "x", portA, portB, mtuBytes: 1500 });
  const sink = runTool(t, ["sink", "--socket", b, "--interval", "0.02"]);
  await sink.until(({ up }) => up);
  const blast = runTool(t, ["blast", "--socket", a, "--interval", "0.02"]);
  await blast.until(({ sent }) => sent > 1000);
  await core.addDevice({ name: "underlay", spec: "net_null0" });
  const before = core.board.direction(slot, "ab").packets;
  assert.notEqual(core.board.device(0).state, "ready", "it takes a while");
  let during = before;
  while (["none", "opening"].includes(core.board.device(0).state)) {
    during = core.board.direction(slot, "ab").packets;
    await pause(1);
  }
  assert.equal(core.board.device(0).state, "ready", core.board.device(0).why);
  assert.ok(during > before, "packets moved while the device was being opened");
});

const refused: readonly { readonly what: string; readonly device: Partial<CoreDevice>; readonly why: RegExp }[] = [
  {
    what: "a driver that does not exist",
    device: { spec: "net_nothing0" },
    why: /no driver takes the device|DPDK does not start/,
  },
  {
    what: "an interface that does not exist",
    device: { spec: "net_af_packet0,iface=wt-none" },
    why: /no driver takes the device/,
  },
  {
    what: "huge pages that are not there",
    device: { spec: "net_null0", hugePages: "always", memoryMiB: 8192 },
    why: /with huge pages/,
  },
  {
    what: "an option that EAL does not know",
    device: { spec: "net_null0", ealOptions: "--wt-nonsense" },
    why: /DPDK does not start/,
  },
];

for (const { what, device, why } of refused) {
  test(`DPDK refuses ${what}: the core says why, and goes on`, { skip }, async (t) => {
    const core = await keeper(t);
    await core.addDevice({ name: "underlay", spec: "net_null0", ...device });
    const state = await settled(core);
    assert.equal(state.state, "failed");
    assert.match(state.why, why);
    const [a, b] = [socketName("a"), socketName("b")];
    const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
    const portA = await core.addPort({ ...memif, name: "a", path: a });
    const portB = await core.addPort({ ...memif, name: "b", path: b });
    await core.setConnect({ name: "x", portA, portB, mtuBytes: 1500 });
    runTool(t, ["echo", "--socket", b]);
    assert.equal(await runTool(t, pingArgs(a, "10.9.0.1", "10.9.0.2")).ended, 0);
    assert.equal(core.board.worker().starts, 1, "no worker has died of it");
    await core.removeDevice(0);
    await until(core, () => core.board.device(0).state === "none");
  });
}

test("devices are refused in this process, with net_memif, with an address of another link, and twice", { skip }, async (t) => {
  const own = openInProcessCore();
  t.after(() => own.end());
  await assert.rejects(own.addDevice({ name: "underlay", spec: "net_null0" }), { errno: "EOPNOTSUPP" });
  const core = await keeper(t);
  await assert.rejects(core.addDevice({ name: "underlay", spec: "net_memif0,role=server" }), { errno: "EPERM" });
  const device = { name: "underlay", spec: "net_null0", address: "198.18.0.11", prefixBits: 24 };
  const slot = await core.addDevice(device);
  assert.equal(await core.addDevice(device), slot);
  await assert.rejects(core.addDevice({ ...device, prefixBits: 16 }), { errno: "EEXIST" });
  const tunnel = {
    kind: "vxlan",
    mode: "ethernet",
    vni: 7,
    udpPort: 4789,
    remoteAddress: "198.18.0.2",
    deviceName: "underlay",
  } as const;
  await assert.rejects(core.addPort({ ...tunnel, name: "v", localAddress: "198.18.0.12" }), { errno: "EADDRNOTAVAIL" });
  await assert.rejects(core.addPort({ ...tunnel, name: "v", localAddress: "198.18.0.11", deviceName: "none" }), {
    errno: "ENOENT",
  });
  const port = await core.addPort({ ...tunnel, name: "v", localAddress: "198.18.0.11" });
  await assert.rejects(core.removeDevice(slot), { errno: "EBUSY" });
  await core.removePort(port);
  await core.removeDevice(slot);
});

async function keeper(t: TestContext): Promise<PacketCore> {
  const core = await openKeeperCore({ socketPath: join(stateFolder(t), "keeper"), ephemeral: true });
  t.after(() => core.end());
  return core;
}

/** A client with memif on the first node, an endpoint with an interface on the second, and the kernel there. */
async function crossNodes(t: TestContext, spec: string, family: "v4" | "v6") {
  const { one, two, address } = twoNodes(t);
  const pod = namespace(t, "endpoint");
  const core = await keeper(t);
  // The device has an address that the kernel on its link does not have.
  const [here, there] = [family === "v4" ? "198.18.0.11" : "fd00:18::11", address(2, family)];
  const netnsPath = `/run/netns/${one.name}`;
  await core.addDevice({ name: "underlay", spec, address: here, prefixBits: family === "v4" ? 24 : 64, netnsPath });
  const state = await settled(core);
  assert.equal(state.state, "ready", state.why);
  const remote = withNetns(two.netns, () => createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog }));
  t.after(() => remote.close());
  const vxlan = { kind: "vxlan", vni: 4242, udpPort: 4799 } as const;
  await remote.ensure(
    crossConnect(
      "b",
      {
        client: { ...vxlan, localAddress: there, remoteAddress: here },
        endpoint: numbered(pod, pod).endpoint,
      },
      { mtuBytes: 1400 },
    ),
    noSignal,
  );
  const a = socketName("a");
  const portA = await core.addPort({ name: "a", kind: "memif", mode: "ethernet", role: "server", path: a });
  const portB = await core.addPort({
    ...vxlan,
    name: "tunnel",
    mode: "ethernet",
    localAddress: here,
    remoteAddress: there,
    deviceName: "underlay",
  });
  const tunnel = await core.setConnect({ name: "x", portA, portB, mtuBytes: 1400 });
  await until(core, () => core.board.device(0).neighbours === 1);
  const ping = async (): Promise<void> => {
    const tool = runTool(t, [...pingArgs(a, "172.16.0.1", "172.16.0.0"), "--size", "1414"]);
    assert.equal(await tool.ended, 0, JSON.stringify(tool.lines));
  };
  return { core, ping, pod, socket: a, tunnel };
}

function settled(core: PacketCore): Promise<DeviceState> {
  return until(core, () => ["ready", "failed"].includes(core.board.device(0).state)).then(() => core.board.device(0));
}

function show(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

/** Polls: what DPDK does by itself is told by the board alone. */
async function until(core: PacketCore, condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 1_000, JSON.stringify(core.board.device(0), show));
    await pause(20);
  }
}

function pingArgs(socket: string, from: string, to: string): string[] {
  return ["ping", "--socket", socket, "--from", from, "--to", to, "--count", "3", "--interval", "0.02"];
}
