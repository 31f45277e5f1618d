/** Where a forwarder keeps the closes that its next hops have not heard yet: beside its ledger. */
import { join } from "node:path";
import { resolveStateDir } from "../sdk/config/state-dir.js";
import { keepOwedCloses, type OwedCloses } from "../sdk/elements/owed-closes.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { ForwarderConfig } from "./config.js";
import type { DataPlane } from "./dataplane/dataplane.js";

interface Surroundings {
  readonly log: Log;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly dataPlane?: DataPlane | undefined;
}

/** Undefined where nothing outlives the forwarder: with a data plane of the caller's own, and with none. */
export function openOwedCloses(
  config: Pick<ForwarderConfig, "dataPlane" | "stateDir" | "name">,
  { dataPlane, env = {}, log }: Surroundings,
): OwedCloses | undefined {
  if (dataPlane !== undefined || config.dataPlane === "none") return undefined;
  return keepOwedCloses(join(resolveStateDir(config.stateDir, config.name, env), "owed-closes"), log);
}
