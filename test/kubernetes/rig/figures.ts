/** Figures that a run of the cluster test measures: told as diagnostics and, in the end, written down for docs/kubernetes.md. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

export interface Figure {
  readonly what: string;
  readonly measured: string;
  /** What issue or user expects; empty = nothing is promised. */
  readonly goal: string;
}

const file = fileURLToPath(new URL("../../../dist/kubernetes-figures.json", import.meta.url));
const figures: Figure[] = [];

export function record(t: TestContext, what: string, measured: string, goal = ""): void {
  t.diagnostic(`${what}: ${measured}${goal === "" ? "" : ` (goal: ${goal})`}`);
  figures.push({ what, measured, goal });
}

/** For scripts/kubernetes-figures.mjs, which puts them into docs/kubernetes.md. What this run did not measure stays as it was. */
export function writeFigures(): void {
  if (figures.length === 0) return;
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { figures: Figure[] }).figures : [];
  const all = [...earlier.filter(({ what }) => !figures.some((figure) => figure.what === what)), ...figures];
  mkdirSync(new URL("../../../dist/", import.meta.url), { recursive: true });
  const load = loadavg()[1]?.toFixed(1);
  writeFileSync(file, `${JSON.stringify({ load, figures: all }, null, 2)}\n`);
}

/** The value below which so many of a hundred are. */
export function percentile(values: readonly number[], of100: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const last = sorted.length - 1;
  return sorted[Math.min(last, Math.ceil((of100 / 100) * sorted.length) - 1)] ?? Number.NaN;
}

export function milliseconds(values: readonly number[]): string {
  return `${Math.round(percentile(values, 50))} ms p50, ${Math.round(percentile(values, 99))} ms p99`;
}
