/** One hop of a connection and what it decided, as text (pure). */
import { indent } from "./inspect.js";
import { formatTable } from "./table.js";

export interface HopTold {
  readonly name: string;
  readonly node: string;
  readonly kind: string;
  /** Why there are no decisions. */
  readonly note: string;
  readonly decisions: readonly DecisionTold[];
}

export interface DecisionTold {
  /** ISO 8601. */
  readonly at?: string | undefined;
  readonly step: string;
  readonly candidate: string;
  readonly verdict: string;
  readonly rule: string;
}

export function renderHop({ name, node, kind, note, decisions }: HopTold, index: number): string {
  const head = `${index + 1}. ${name}${node === "" ? "" : ` on ${node}`} (${kind})`;
  if (decisions.length === 0) return `${head}: ${note}\n`;
  const rows = decisions.map(({ at, step, candidate, verdict, rule }) => [
    at?.slice(11, 23) ?? "",
    step,
    candidate,
    verdict,
    rule,
  ]);
  return `${head}\n${indent(indent(formatTable(["AT", "STEP", "CANDIDATE", "VERDICT", "RULE"], rows)))}`;
}
