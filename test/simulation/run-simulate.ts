/** simulate.mjs as a process, and what it says of its schedules. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { finish } from "../cli/isolated.js";

const script = fileURLToPath(new URL("simulate.mjs", import.meta.url));

export interface SimulationResult {
  readonly ok: boolean;
  readonly summary: string;
  readonly broken: readonly { readonly seed: number; readonly broken: readonly string[]; readonly faults: readonly string[] }[];
  readonly mutants: readonly { readonly name: string; readonly caughtBySeed?: number }[];
  readonly differing?: readonly object[];
}

/** @param argv  as simulate.mjs takes them, but for --json */
export async function simulate(...argv: string[]): Promise<SimulationResult> {
  const { out, err } = await finish(spawn(process.execPath, [script, "--json", ...argv], { stdio: ["ignore", "pipe", "pipe"] }));
  assert.notEqual(out, "", err);
  return JSON.parse(out) as SimulationResult;
}
