/**
 * Prefixes lent out of one larger prefix (pure). Rules: behaviour of NSM's vL3 address server.
 */
import { formatAddress, mergeRanges, type Prefix, parsePrefix, type Range, rangeOf } from "../../sdk/ip.js";

export interface PrefixPool {
  /**
   * A prefix for a borrower: the one it asks for, as it was written, if that is inside the pool and free; else the
   * lowest free one of the pool's usual length outside `excluded`.
   * @returns undefined when nothing is left
   */
  lend(borrower: object, asked: string, excluded: readonly string[]): string | undefined;
  /** Takes one back; only from the borrower that holds it. */
  takeBack(borrower: object, prefix: string): void;
  /** Takes everything back from a borrower. */
  takeAllBack(borrower: object): void;
}

interface Loan {
  readonly borrower: object;
  readonly text: string;
  readonly range: Range;
}

/** @param length  bits of a lent prefix; at least those of the pool */
export function createPrefixPool(pool: Prefix, length: number): PrefixPool {
  const whole = rangeOf(pool);
  let loans: Loan[] = [];

  function asRange(text: string): Range | undefined {
    const prefix = parsePrefix(text);
    if (prefix === undefined || prefix.family !== pool.family) return undefined;
    const range = rangeOf(prefix);
    return range.first >= whole.first && range.last <= whole.last ? range : undefined;
  }

  const isFree = (range: Range): boolean => !loans.some((loan) => overlap(loan.range, range));

  function lend(borrower: object, text: string, range: Range): string {
    loans.push({ borrower, text, range });
    return text;
  }

  return {
    lend(borrower, asked, excluded) {
      const wanted = asked === "" ? undefined : asRange(asked);
      if (wanted !== undefined && isFree(wanted)) return lend(borrower, asked, wanted);
      const closed = excluded.flatMap((text) => rangesOf(text, pool));
      const first = lowestFree(whole, { ...pool, length }, mergeRanges([...closed, ...loans.map((loan) => loan.range)]));
      if (first === undefined) return undefined;
      const found: Prefix = { family: pool.family, value: first, length };
      return lend(borrower, `${formatAddress(found)}/${length}`, rangeOf(found));
    },
    takeBack(borrower, prefix) {
      loans = loans.filter((loan) => loan.borrower !== borrower || loan.text !== prefix);
    },
    takeAllBack(borrower) {
      loans = loans.filter((loan) => loan.borrower !== borrower);
    },
  };
}

/** The first address of the lowest block that touches no closed range (sorted, disjoint). */
function lowestFree(whole: Range, block: Prefix, closed: readonly Range[]): bigint | undefined {
  let { first } = whole;
  for (const range of closed) {
    const candidate = rangeOf({ ...block, value: first });
    if (range.last < candidate.first) continue;
    if (range.first > candidate.last) break;
    // what follows the closed range, rounded up to a block
    const size = candidate.last - candidate.first + 1n;
    first = ((range.last + size) / size) * size;
  }
  return rangeOf({ ...block, value: first }).last <= whole.last ? first : undefined;
}

function rangesOf(text: string, pool: Prefix): Range[] {
  const prefix = parsePrefix(text);
  return prefix === undefined || prefix.family !== pool.family ? [] : [rangeOf(prefix)];
}

function overlap(a: Range, b: Range): boolean {
  return a.first <= b.last && b.first <= a.last;
}
