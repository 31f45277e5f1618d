/** The form of a benchmark's result: one JSON object, one readable table, one section of docs/performance.md. */

export interface BenchRow {
  readonly what: string;
  readonly value: number;
  /** "ms CPU", "µs", "Gbit/s", "MiB", … */
  readonly unit: string;
  /** The same thing done by somebody else in the same run. */
  readonly peer?: { readonly name: string; readonly value: number };
  /** What the project asks for; `value` or the ratio to the peer is compared with it. */
  readonly gate?: { readonly of: "value" | "ratio"; readonly atMost?: number; readonly atLeast?: number };
}

export interface BenchTable {
  /** Short and stable: kernel, registry, control-plane, throughput. */
  readonly name: string;
  readonly title: string;
  /** What was measured and how, in a few sentences, for somebody who wants to repeat it. */
  readonly method: string;
  readonly rows: readonly BenchRow[];
}

export interface BenchOptions {
  /** Fewer repetitions, to see that it works. */
  readonly quick: boolean;
  /** Long work shows progress here. */
  readonly progress: (text: string) => void;
}

/** Each bench file exports one of these as `bench`. */
export interface Bench {
  readonly name: string;
  /** Undefined = can run here; else what is missing and how to get it. */
  readonly missing: () => Promise<string | undefined>;
  readonly run: (options: BenchOptions) => Promise<BenchTable>;
}

/** Ours divided by the peer's; undefined without a peer. */
export function ratioToPeer(row: BenchRow): number | undefined {
  return row.peer === undefined || row.peer.value === 0 ? undefined : row.value / row.peer.value;
}

/** Undefined where nothing is asked. */
export function gateMet(row: BenchRow): boolean | undefined {
  if (row.gate === undefined) return undefined;
  const figure = row.gate.of === "value" ? row.value : ratioToPeer(row);
  if (figure === undefined) return false;
  return figure <= (row.gate.atMost ?? Number.POSITIVE_INFINITY) && figure >= (row.gate.atLeast ?? Number.NEGATIVE_INFINITY);
}

/** A Markdown table; also what is printed. */
export function renderTable(table: BenchTable): string {
  const lines = ["| what | Weft | unit | peer | ratio | gate |", "|---|---|---|---|---|---|"];
  for (const row of table.rows) {
    const ratio = ratioToPeer(row);
    const peer = row.peer === undefined ? "" : `${row.peer.name}: ${figure(row.peer.value)}`;
    const cells = [row.what, figure(row.value), row.unit, peer, ratio === undefined ? "" : figure(ratio), gateText(row)];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  return lines.join("\n");
}

function gateText(row: BenchRow): string {
  if (row.gate === undefined) return "";
  const bound = row.gate.atMost !== undefined ? `≤ ${row.gate.atMost}` : `≥ ${row.gate.atLeast}`;
  return `${row.gate.of === "ratio" ? "ratio " : ""}${bound}: ${gateMet(row) ? "met" : "**missed**"}`;
}

function figure(value: number): string {
  return value === 0 ? "0" : Number(value.toPrecision(3)).toString();
}
