/** Opens the data plane that the settings name. The kernel's is loaded only when asked for: it needs the FFI library. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { resolveStateDir } from "../sdk/config/state-dir.js";
import { missingCapabilities } from "../sdk/linux/process-capabilities.js";
import { Code, statusError, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { ForwarderConfig } from "./config.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import type { UnderlayChoice } from "./dataplane/fast/underlay.js";
import { createNoDataPlane } from "./dataplane/none.js";
import { type DpdkConfig, dpdkDeviceOf } from "./dpdk-device.js";
import type { PacketCore } from "./native/core.js";
import { openVpp } from "./open-vpp.js";
import type { VppConfig } from "./vpp-settings.js";

type Settings = Pick<ForwarderConfig, "dataPlane" | "name" | "stateDir" | "wireguardBackend"> &
  Partial<Pick<ForwarderConfig, "directMemif" | "coreHost"> & DpdkConfig & VppConfig>;

/** What the kernel's data plane does with each capability (capabilities(7)). Without one of the first two nothing works. */
const purposes = {
  CAP_NET_ADMIN: "to make and configure interfaces",
  CAP_SYS_ADMIN: "to enter the network namespaces of workloads",
  CAP_SYS_PTRACE: "to open the network namespaces of other users' processes",
  CAP_NET_BROADCAST: "to hear of interfaces that vanish in other network namespaces",
} as const;

/** A data plane of its own programs can do without all of them; the kernel's cannot. */
function checkCapabilities(dataPlane: ForwarderConfig["dataPlane"], log: Log): void {
  const missing = missingCapabilities(Object.keys(purposes) as (keyof typeof purposes)[]);
  const told = missing.map((name) => `${name} (${purposes[name]})`).join(" and ");
  if (
    (dataPlane === "kernel" || dataPlane === "vpp") &&
    (missing.includes("CAP_NET_ADMIN") || missing.includes("CAP_SYS_ADMIN"))
  ) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `this process lacks ${told}; give it, or run as root, or negotiate without building by --dataplane none`,
    );
  }
  if (missing.length > 0) log.warn(`this process lacks ${told}; it goes on without`);
}

/** @throws FAILED_PRECONDITION when it cannot work on this machine, or no directory for its ledger can be written */
export async function openDataPlane(
  config: Settings,
  { log, env }: { readonly log: Log; readonly env: Readonly<Record<string, string | undefined>> },
): Promise<DataPlane> {
  const { dpdkDevice } = config;
  if (dpdkDevice !== undefined && (config.dataPlane === "none" || config.dataPlane === "kernel"))
    throw statusError(Code.FAILED_PRECONDITION, `WEFT_DPDK_DEVICE needs the packet core: set WEFT_DATAPLANE to auto or fast`);
  if (config.dataPlane === "none") return createNoDataPlane();
  checkCapabilities(config.dataPlane, log);
  const { createKernelDataPlane } = await import("./dataplane/kernel/kernel.js");
  const { WEFT_MESH: mark } = env;
  const processEnv = mark === undefined ? undefined : { WEFT_MESH: mark };
  const stateDir = resolveStateDir(config.stateDir, config.name, env);
  const { wireguardBackend } = config;
  const tunnels = wireguardBackend === "auto" ? undefined : wireguardBackend === "kernel" ? "kernel" : "program";
  const kernel = createKernelDataPlane({ stateDir, log, processEnv, tunnels });
  if (config.dataPlane === "kernel") return kernel;
  try {
    if (config.dataPlane === "vpp") {
      const beneath = await openFast({ ...config, dataPlane: "auto" }, { kernel, stateDir, log, processEnv });
      return await openVpp(config, { beneath, stateDir, log, env, processEnv });
    }
    return await openFast(config, { kernel, stateDir, log, processEnv });
  } catch (error) {
    await kernel.close();
    throw error;
  }
}

interface Parts {
  readonly kernel: DataPlane;
  readonly stateDir: string;
  readonly log: Log;
  readonly processEnv: Readonly<Record<string, string>> | undefined;
}

/** Room in sockaddr_un (unix(7)). */
const maxSocketBytes = 107;
/** So long a keeper that a service runs may take to start. */
const serviceWaitMs = 60_000;

async function openFast(config: Settings, { kernel, stateDir, log, processEnv = {} }: Parts): Promise<DataPlane> {
  const { createFastDataPlane } = await import("./dataplane/fast/fast.js");
  const { coreProgram, openKeeperCore } = await import("./native/keeper-client.js");
  const program = coreProgram();
  const socketPath = join(stateDir, "core.sock");
  const obstacle = existsSync(program)
    ? Buffer.byteLength(socketPath) > maxSocketBytes
      ? `the path of the keeper's socket has more than ${maxSocketBytes} bytes: ${socketPath}; set WEFT_STATE_DIR to a shorter one`
      : undefined
    : `the packet core is not built (${program}); install a C compiler and run "npm run build:native"`;
  if (obstacle !== undefined && config.dataPlane === "fast")
    throw statusError(Code.FAILED_PRECONDITION, `data plane fast: ${obstacle}`);
  const wait = config.coreHost === "service" ? { awaitMs: serviceWaitMs } : {};
  const inKeeper = (): ReturnType<typeof openKeeperCore> => openKeeperCore({ socketPath, program, processEnv, ...wait });
  const inThread = async () => (await import("./native/in-process.js")).openInProcessCore();
  const openCore = config.coreHost === "thread" ? inThread : inKeeper;
  const dpdk = await openDpdk(config, openCore, obstacle, log);
  return createFastDataPlane({
    stateDir,
    log,
    kernel,
    obstacle,
    name: config.dataPlane,
    openCore: dpdk.reopen ?? openCore,
    underlay: dpdk.underlay,
    shape: {
      coreTunnels: config.dataPlane === "fast" || "device" in dpdk.underlay,
      directMemif: config.directMemif ?? true,
      alwaysJoin: false,
    },
  });
}

interface Dpdk {
  readonly underlay: UnderlayChoice;
  /** Opens a core in the place of a lost one. */
  readonly reopen?: () => Promise<PacketCore>;
}

/** @throws INVALID_ARGUMENT settings that do not fit; FAILED_PRECONDITION it is required and refused */
async function openDpdk(
  config: Settings,
  openCore: () => Promise<PacketCore>,
  coreObstacle: string | undefined,
  log: Log,
): Promise<Dpdk> {
  const device = config.dpdkDevice === undefined ? undefined : dpdkDeviceOf(config as DpdkConfig);
  if (device === undefined) return { underlay: { obstacle: "not asked for; set WEFT_DPDK_DEVICE and WEFT_DPDK_ADDRESS" } };
  const { openUnderlay, watchUnderlay } = await import("./dataplane/fast/underlay.js");
  let core: PacketCore | undefined;
  try {
    if (coreObstacle !== undefined) throw statusError(Code.FAILED_PRECONDITION, coreObstacle);
    core = await openCore();
    const opened = await openUnderlay(core, device);
    watchUnderlay(core, opened, log);
    const reopen = async (): Promise<PacketCore> => {
      const next = await openCore();
      watchUnderlay(next, await openUnderlay(next, device), log);
      return next;
    };
    return { underlay: { core, device: opened }, reopen };
  } catch (error) {
    await core?.close();
    if (config.dpdkRequired) throw error;
    const obstacle = toStatusError(error).details;
    log.error(`tunnels go through the kernel, because DPDK refuses: ${obstacle}`);
    return { underlay: { obstacle } };
  }
}
