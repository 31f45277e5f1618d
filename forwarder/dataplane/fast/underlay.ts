/**
 * The device of DPDK that tunnels go over. A core that is new is given it again; a driver that refuses is told about, and the
 * forwarder goes on without (tunnels by the kernel) or does not start, as configured.
 */
import { setTimeout as pause } from "node:timers/promises";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { DeviceState } from "../../native/board.js";
import type { CoreDevice, PacketCore } from "../../native/core.js";
import type { Capability } from "../dataplane.js";

export interface Underlay {
  readonly deviceName: string;
  /** Where tunnels start. */
  readonly address: string;
  state(): DeviceState | undefined;
}

/** What tunnels of the core go over, with the core that has it already; else why there is none. */
export type UnderlayChoice = { readonly core?: PacketCore; readonly device: Underlay } | { readonly obstacle: string };

/** DPDK starts in a third of a second; a machine under load may take longer. */
const openTimeoutMs = 20_000;
const lookEveryMs = 20;

/**
 * Adds the device and waits until it is open.
 * @throws FAILED_PRECONDITION with what DPDK says
 */
export async function openUnderlay(core: PacketCore, device: CoreDevice): Promise<Underlay> {
  const slot = await addDevice(core, device);
  const until = Date.now() + openTimeoutMs;
  let state = core.board.device(slot);
  while (state.state !== "ready") {
    if (state.state === "failed" || Date.now() > until) {
      await core.removeDevice(slot).catch(() => {});
      const why = state.state === "failed" ? state.why : `it has not opened within ${openTimeoutMs / 1_000} s`;
      throw statusError(Code.FAILED_PRECONDITION, `DPDK device ${device.spec}: ${why}`);
    }
    await pause(lookEveryMs);
    state = core.board.device(slot);
  }
  return { deviceName: device.name, address: device.address ?? "", state: () => core.board.device(slot) };
}

/** The slot. A keeper that was there before us may hold it with other settings. */
async function addDevice(core: PacketCore, device: CoreDevice): Promise<number> {
  const first = 0;
  try {
    return await core.addDevice(device);
  } catch (error) {
    if (!hasErrno(error, "EEXIST")) throw refused(device, error);
  }
  try {
    await core.removeDevice(first);
    return await core.addDevice(device);
  } catch (error) {
    throw refused(device, error);
  }
}

function refused(device: CoreDevice, error: unknown): unknown {
  if (!hasErrno(error, "EBUSY"))
    return statusError(Code.FAILED_PRECONDITION, `DPDK device ${device.spec}: ${String(error)}`, error);
  const why = "connections from before go over it with other settings; close them, or give the settings of before";
  return statusError(Code.FAILED_PRECONDITION, `DPDK device ${device.spec}: ${why}`, error);
}

/** Says in the log when it fails or comes back: a worker that is new opens it anew. The result ends it. */
export function watchUnderlay(core: PacketCore, underlay: Underlay, log: Log): () => void {
  let before = underlay.state()?.state;
  return core.onChange(() => {
    const now = underlay.state();
    if (now === undefined || now.state === before) return;
    before = now.state;
    if (now.state === "failed") log.error(`DPDK has lost the device of tunnels: ${now.why}`, { driver: now.driver });
    else log.info("the DPDK device of tunnels", { state: now.state, driver: now.driver });
  });
}

export function underlayCapability(underlay: Underlay | undefined, obstacle: string): Capability {
  const state = underlay?.state();
  if (underlay === undefined || state === undefined) return { name: "dpdk", supported: "no", detail: obstacle };
  const { driver, mtuBytes, macAddress, carrier, neighbours } = state;
  const link = `${macAddress}, MTU ${mtuBytes}, ${carrier ? "carrier" : "no carrier"}, ${neighbours} neighbours`;
  if (state.state !== "ready")
    return { name: "dpdk", supported: "no", detail: `${underlay.address}: ${state.state} ${state.why}` };
  return { name: "dpdk", supported: "yes", detail: `tunnels from ${underlay.address} by ${driver}: ${link}` };
}
