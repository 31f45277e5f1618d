/** Opens the data plane that the settings name. The kernel's is loaded only when asked for: it needs the FFI library. */
import { resolveStateDir } from "../sdk/config/state-dir.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { ForwarderConfig } from "./config.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { createNoDataPlane } from "./dataplane/none.js";

/** @throws FAILED_PRECONDITION when it cannot work on this machine, or no directory for its ledger can be written */
export async function openDataPlane(
  config: Pick<ForwarderConfig, "dataPlane" | "name" | "stateDir" | "wireguardBackend">,
  { log, env }: { readonly log: Log; readonly env: Readonly<Record<string, string | undefined>> },
): Promise<DataPlane> {
  if (config.dataPlane === "none") return createNoDataPlane();
  const { createKernelDataPlane } = await import("./dataplane/kernel/kernel.js");
  const { WEFT_MESH: mark } = env;
  const processEnv = mark === undefined ? undefined : { WEFT_MESH: mark };
  const { wireguardBackend } = config;
  const tunnels = wireguardBackend === "auto" ? undefined : wireguardBackend === "kernel" ? "kernel" : "program";
  return createKernelDataPlane({ stateDir: resolveStateDir(config.stateDir, config.name, env), log, processEnv, tunnels });
}
