/**
 * The pools of an endpoint: groups of prefixes over one set of free addresses for each family (pure).
 * Pools may overlap, within a group or between groups: an address is still given out once.
 */

import type { Address, Family, Prefix, Range } from "../../ip.js";
import { formatAddress, inRange, mergeRanges, parsePrefix, rangeOf } from "../../ip.js";
import { Code, statusError } from "../../status.js";
import { type FreeRanges, freeRanges } from "./free-ranges.js";

/** Excluded ranges by family, sorted and disjoint. */
export type Excluded = Readonly<Record<Family, readonly Range[]>>;

export interface Pool {
  readonly family: Family;
  readonly range: Range;
  readonly prefix: Prefix;
}

export interface Pools {
  readonly groups: readonly (readonly Pool[])[];
  /** Whether any pool holds the address, free or not. */
  owns(address: Address): boolean;
  /** Takes that very address if it is free and not excluded. */
  take(address: Address, excluded: Excluded): boolean;
  /** Takes the lowest free address of one pool; undefined if there is none. */
  takeLowest(pool: Pool, excluded: Excluded): Address | undefined;
  give(address: Address): void;
}

/** `withheld` addresses are never given out. */
export function pools(prefixes: readonly (readonly Prefix[])[], withheld: readonly Address[] = []): Pools {
  const groups = prefixes.map((group) =>
    group.map((prefix): Pool => ({ family: prefix.family, range: rangeOf(prefix), prefix })),
  );
  const all = groups.flat();
  const free: Record<Family, FreeRanges> = { 4: freeRanges(rangesOf(all, 4)), 6: freeRanges(rangesOf(all, 6)) };
  for (const address of withheld) free[address.family].take(address.value);

  return {
    groups,
    owns: (address) => all.some((pool) => isIn(pool, address)),
    take: ({ family, value }, excluded) => !isExcluded({ family, value }, excluded) && free[family].take(value),
    takeLowest({ family, range }, excluded) {
      const value = free[family].lowest(range, excluded[family]);
      if (value === undefined) return undefined;
      free[family].take(value);
      return { family, value };
    },
    give: ({ family, value }) => free[family].give(value),
  };
}

export function isIn(pool: Pool, address: Address): boolean {
  return pool.family === address.family && inRange(address.value, pool.range);
}

export function isExcluded(address: Address, excluded: Excluded): boolean {
  return excluded[address.family].some((range) => inRange(address.value, range));
}

/** @throws INVALID_ARGUMENT naming the prefix that is malformed */
export function parseExcluded(texts: readonly string[]): Excluded {
  const ranges: Record<Family, Range[]> = { 4: [], 6: [] };
  for (const text of texts) {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw statusError(Code.INVALID_ARGUMENT, `excluded prefix ${JSON.stringify(text)} is not a CIDR`);
    ranges[prefix.family].push(rangeOf(prefix));
  }
  return { 4: mergeRanges(ranges[4]), 6: mergeRanges(ranges[6]) };
}

/** The error when no pool of a group has what is needed. */
export function exhausted(group: readonly Pool[], excluded: Excluded, connectionId: string): Error {
  const names = group.map(({ prefix }) => `${formatAddress(prefix)}/${prefix.length}`).join(", ");
  const narrowed = group.some(({ family }) => excluded[family].length > 0);
  const remedy = narrowed
    ? "close connections, give the endpoint a larger CIDR, or exclude less (the request carries excluded prefixes)"
    : "close connections or give the endpoint a larger CIDR";
  return statusError(Code.RESOURCE_EXHAUSTED, `no address left in ${names} for connection ${connectionId}: ${remedy}`);
}

function rangesOf(list: readonly Pool[], family: Family): Range[] {
  return list.filter((pool) => pool.family === family).map((pool) => pool.range);
}
