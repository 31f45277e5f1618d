/** weft chaos: rehearses faults on a mesh of its own and says what each of them cost. */

import { Code, statusError } from "../../sdk/status.js";
import { runChurn } from "../chaos/churn.js";
import { isInPlace, preparePlace, runInPlace } from "../chaos/place.js";
import { canEncrypt, runChaos } from "../chaos/run.js";
import { faultKinds } from "../chaos/schedule.js";
import { defaultTopology, readTopology } from "../chaos/topology.js";
import type { CliContext } from "../context.js";

export interface ChaosOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly connections: number;
  readonly faults?: number;
  readonly short?: boolean;
  readonly only?: string;
  /** Churn instead of a schedule of faults. */
  readonly churn?: number;
  /** With churn: the node that lives through it. */
  readonly spare?: string;
  readonly topology?: string;
  readonly probeInterval: number;
  readonly probeTimeout: number;
  /** Where to copy the logs. */
  readonly logs?: string;
  readonly json?: boolean;
}

const ordinaryFaults = 15;
const shortFaults = 5;

/** @returns 0 when every promise held, 1 when one is broken, 3 when the machine itself lost packets */
export async function chaos(options: ChaosOptions, argv: readonly string[], context: CliContext): Promise<number> {
  const topology =
    options.topology === undefined
      ? defaultTopology(options.nodes, options.connections, canEncrypt())
      : readTopology(options.topology);
  const kinds = options.only?.split(",");
  const unknown = kinds?.find((kind) => !faultKinds(topology).includes(kind));
  if (unknown !== undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `no fault "${unknown}"; there are ${faultKinds(topology).join(", ")}`);
  }
  refuseSpare(options, topology.nodes);
  if (!isInPlace(context)) return runInPlace(["chaos", ...argv], context);
  preparePlace();
  const show = options.json === true ? context.err : context.out;
  const faults = options.faults ?? (options.short === true ? shortFaults : ordinaryFaults);
  const settings = { livenessIntervalMs: options.probeInterval, livenessTimeoutMs: options.probeTimeout };
  if (options.churn !== undefined) {
    const { seed, churn: cycles, spare, logs } = options;
    const churn = { seed, cycles, topology, settings, spare, logs };
    const result = await runChurn(churn, context, (line) => show.write(`${line}\n`));
    show.write(`${result.summary}\n`);
    if (options.json === true) context.out.write(`${JSON.stringify(result)}\n`);
    return result.ok ? 0 : 1;
  }
  const run = { seed: options.seed, faults, kinds, topology, settings, logs: options.logs };
  const result = await runChaos(run, context, (line) => show.write(`${line}\n`));
  show.write(`${result.summary}\n`);
  if (options.json === true) context.out.write(`${JSON.stringify(result)}\n`);
  return result.ok ? 0 : result.void ? 3 : 1;
}

/** @throws INVALID_ARGUMENT */
function refuseSpare({ spare, churn }: ChaosOptions, nodes: number): void {
  if (spare === undefined) return;
  if (churn === undefined)
    throw statusError(Code.INVALID_ARGUMENT, "--spare says who lives through --churn; give both, or neither");
  const number = Number(/^node-(\d+)$/.exec(spare)?.[1] ?? 0);
  if (number >= 1 && number <= nodes && nodes > 1) return;
  throw statusError(
    Code.INVALID_ARGUMENT,
    `--spare ${spare}: it is one node of several, node-1 … node-${nodes}; others are killed`,
  );
}
