/** What a run does worse than the one that was recorded before. */
import { type BenchRow, type BenchTable, ratioToPeer } from "./table.js";

/** Less is noise on a machine that does other things as well. */
const tolerance = 1.2;
/** A figure that is better when it is higher. */
const higherIsBetter = new Set(["/s", "Gbit/s", "cycles/s"]);

/** One line for each figure that is worse; where both runs had the same peer, the ratio to it is compared. */
export function regressions(fresh: readonly BenchTable[], old: readonly BenchTable[]): string[] {
  const lines: string[] = [];
  for (const table of fresh) {
    const before = old.find(({ name }) => name === table.name)?.rows ?? [];
    for (const row of table.rows) {
      const was = before.find(({ what, peer }) => what === row.what && peer?.name === row.peer?.name);
      if (was === undefined || was.unit !== row.unit) continue;
      const [now, then] = comparable(row, was);
      const factor = higherIsBetter.has(row.unit) ? then / now : now / then;
      if (then > 0 && now > 0 && factor > tolerance) lines.push(told(table, row, was, factor));
    }
  }
  return lines;
}

function comparable(row: BenchRow, was: BenchRow): [now: number, then: number] {
  const [now, then] = [ratioToPeer(row), ratioToPeer(was)];
  return now === undefined || then === undefined ? [row.value, was.value] : [now, then];
}

function told({ title }: BenchTable, row: BenchRow, was: BenchRow, factor: number): string {
  const against = row.peer === undefined ? "" : ` (against ${row.peer.name})`;
  const [before, now] = [was.value, row.value].map((value) => value.toPrecision(3));
  return `${title}: ${row.what}: ${before} → ${now} ${row.unit}, ${factor.toFixed(2)} times as bad${against}`;
}
