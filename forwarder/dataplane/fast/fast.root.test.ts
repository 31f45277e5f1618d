import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import { formatAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { openOwnNetns } from "../../../sdk/linux/netns.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { nativeFolder } from "../../native/ffi.js";
import { openInProcessCore } from "../../native/in-process.js";
import { coreProgram, openKeeperCore } from "../../native/keeper-client.js";
import { dataPlaneCompliance } from "../compliance.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";
import type { ShapeOptions } from "./shape.js";
import { openUnderlay, type Underlay } from "./underlay.js";

/** Every packet through the core, and every tunnel ended by it. */
const allOfIt: ShapeOptions = { coreTunnels: true, directMemif: false, alwaysJoin: true };

if (existsSync(coreProgram())) {
  dataPlaneCompliance("fast, core in this process", (stateDir) => make(stateDir, async () => openInProcessCore()));
  dataPlaneCompliance("fast, core in a keeper", (stateDir) =>
    make(stateDir, () => openKeeperCore({ socketPath: join(stateDir, "keeper"), ephemeral: true })),
  );
  if (existsSync(join(nativeFolder(), "libweft_dpdk.so"))) dataPlaneCompliance("fast, tunnels by DPDK", makeWithDpdk);
  else
    test("data plane fast with DPDK", {
      skip: "it is built where libdpdk-dev is: apt-get install libdpdk-dev, then npm run build:native",
    }, () => {});
} else {
  test("data plane fast", { skip: 'the packet core is not built: run "npm run build:native"' }, () => {});
}

/** The link between the nodes by DPDK, where the world has one; the kernel's address is used again, because the tests give it. */
function makeWithDpdk(stateDir: string): DataPlane {
  const socket = openNetlinkSocket();
  const index = getLink(socket, "underlay")?.index;
  const found = listAddresses(socket).find(({ linkIndex, prefix }) => linkIndex === index && prefix.bytes.length === 4);
  socket.close();
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const options = { stateDir, log: silentLog, kernel, shape: allOfIt, ephemeral: true };
  const openCore = () => openKeeperCore({ socketPath: join(stateDir, "keeper"), ephemeral: true });
  if (found === undefined) return createFastDataPlane({ ...options, openCore });
  const address = formatAddress(found.prefix);
  const home = openOwnNetns();
  let opened: Underlay | undefined;
  const withDevice = async () => {
    const core = await openCore();
    const netnsPath = `/proc/${process.pid}/fd/${home.fd}`;
    const device = { name: "underlay", spec: "net_af_packet0,iface=underlay", address, prefixBits: 24, netnsPath };
    opened = await openUnderlay(core, device);
    home.close();
    return core;
  };
  const device = { deviceName: "underlay", address, state: () => opened?.state() };
  return createFastDataPlane({ ...options, openCore: withDevice, underlay: { device } });
}

function make(stateDir: string, openCore: Parameters<typeof createFastDataPlane>[0]["openCore"]): DataPlane {
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  return createFastDataPlane({ stateDir, log: silentLog, kernel, openCore, shape: allOfIt, ephemeral: true });
}
