/**
 * The addresses that are free, as sorted ranges (pure): a /8 or a /64 costs one entry, not its size.
 */
import type { Range } from "../../ip.js";
import { inRange, mergeRanges } from "../../ip.js";

export interface FreeRanges {
  has(value: bigint): boolean;
  /** Takes one address out. False if it was not free. */
  take(value: bigint): boolean;
  /** Gives one address back. Giving back what is free changes nothing. */
  give(value: bigint): void;
  /** The lowest free address inside `within` and outside `excluded` (sorted, disjoint). It is not taken. */
  lowest(within: Range, excluded: readonly Range[]): bigint | undefined;
}

export function freeRanges(initial: readonly Range[]): FreeRanges {
  const ranges = mergeRanges(initial);

  /** Index of the first range that ends at or after the value. */
  function find(value: bigint): number {
    return firstIndex(ranges, (range) => range.last >= value);
  }

  function has(value: bigint): boolean {
    const range = ranges[find(value)];
    return range !== undefined && inRange(value, range);
  }

  return {
    has,
    take(value) {
      const index = find(value);
      const range = ranges[index];
      if (range === undefined || !inRange(value, range)) return false;
      const rest: Range[] = [];
      if (range.first < value) rest.push({ first: range.first, last: value - 1n });
      if (range.last > value) rest.push({ first: value + 1n, last: range.last });
      ranges.splice(index, 1, ...rest);
      return true;
    },
    give(value) {
      if (has(value)) return;
      const index = find(value);
      const before = ranges[index - 1];
      const after = ranges[index];
      const joinsBefore = before !== undefined && before.last + 1n === value;
      const joinsAfter = after !== undefined && after.first === value + 1n;
      const joined = { first: joinsBefore ? before.first : value, last: joinsAfter ? after.last : value };
      ranges.splice(joinsBefore ? index - 1 : index, Number(joinsBefore) + Number(joinsAfter), joined);
    },
    lowest(within, excluded) {
      for (let index = find(within.first); index < ranges.length; index++) {
        const range = ranges[index] as Range;
        if (range.first > within.last) return undefined;
        const value = skipExcluded(higher(range.first, within.first), excluded);
        if (value <= range.last && value <= within.last) return value;
      }
      return undefined;
    },
  };
}

/** The lowest value at or after `value` that no excluded range holds. */
function skipExcluded(value: bigint, excluded: readonly Range[]): bigint {
  const range = excluded[firstIndex(excluded, (candidate) => candidate.last >= value)];
  // Ranges are merged, so the address after one is never in the next.
  return range !== undefined && range.first <= value ? range.last + 1n : value;
}

/** Binary search: the first index for which the test holds; the length if none. */
function firstIndex(ranges: readonly Range[], test: (range: Range) => boolean): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (test(ranges[middle] as Range)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function higher(a: bigint, b: bigint): bigint {
  return a < b ? b : a;
}
