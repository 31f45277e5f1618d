/** The life of a workload: settings → telemetry → start → wait for a signal, or its own end → stop. */
import { insecureWarning, refuseWithoutIdentity } from "../sdk/config/common.js";
import type { IdentitySettings } from "../sdk/config/identity.js";
import { readSettings, reportUnread, type Table, type Values } from "../sdk/config/table.js";
import type { Identity } from "../sdk/identity/identity.js";
import { startIdentity } from "../sdk/identity/start.js";
import { toStatusError } from "../sdk/status.js";
import { startTelemetry, type Telemetry, type TelemetrySettings } from "../sdk/telemetry/telemetry.js";

export interface RunOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborting it stops the workload gracefully. */
  readonly signal: AbortSignal;
}

export interface Workload {
  /** Resolves when the workload ends by itself; never, if only the signal ends it. */
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

/** What a workload is given by its process. */
export type Surroundings = Telemetry & { readonly identity: Identity | undefined };

type WorkloadValues = TelemetrySettings & IdentitySettings & { readonly name: string; readonly maxTokenLifetimeMs: number };

/**
 * @param start  gets the typed settings; what it throws is logged and ends the process
 * @returns the exit code
 */
export async function runWorkload<T extends Table>(
  command: { readonly name: string; readonly summary: string },
  table: T,
  options: RunOptions,
  start: (values: Values<T>, surroundings: Surroundings, signal: AbortSignal) => Promise<Workload>,
): Promise<number> {
  const read = readSettings(command, table, options);
  if (!read.ok) return reportUnread(read);
  // by way of unknown: the values of a table that is not known here; each spreads the common settings
  const common = read.values as unknown as WorkloadValues;
  const refusal = refuseWithoutIdentity(command.name, common);
  if (refusal !== undefined) {
    process.stderr.write(refusal);
    return 2;
  }
  const telemetry = await startTelemetry({ name: common.name, settings: common });
  const { log } = telemetry;
  let identity: Identity | undefined;
  try {
    identity = await startIdentity(common, { log, signal: options.signal });
    if (identity === undefined) log.warn(insecureWarning);
    const workload = await start(read.values, { ...telemetry, identity }, options.signal);
    telemetry.health.set("", true);
    await Promise.race([aborted(options.signal), workload.ended]);
    log.info("stopping");
    telemetry.health.set("", false);
    await workload.stop();
    return 0;
  } catch (error) {
    if (options.signal.aborted) return 0;
    log.error(`cannot start: ${error instanceof Error ? error.message : toStatusError(error).details}`, { error });
    return 1;
  } finally {
    identity?.close();
    await telemetry.stop();
  }
}

/** Resolves when the signal has aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
