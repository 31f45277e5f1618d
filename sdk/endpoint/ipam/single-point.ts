/**
 * One address for the client from each group (pure), with the mask of its pool: for networks where the client stands on
 * a shared segment. The network address counts as the endpoint's own and an IPv4 broadcast address is never given out.
 * Source of the rules: behaviour of NSM's singlepointipam.
 */

import type { Address, Prefix } from "../../ip.js";
import { formatAddress, rangeOf } from "../../ip.js";
import { parseAddresses, withAddress, withoutAddresses } from "./context-addresses.js";
import type { Ipam, Lease } from "./ipam.js";
import { type Excluded, exhausted, isExcluded, isIn, type Pool, parseExcluded, pools } from "./pools.js";

interface Held extends Lease {
  readonly pool: Pool;
}

export function singlePoint(prefixes: readonly (readonly Prefix[])[]): Ipam {
  const space = pools(prefixes, prefixes.flat().flatMap(reserved));
  const held = new Map<string, readonly Held[]>();

  function leaseFor(
    group: readonly Pool[],
    have: Held | undefined,
    shown: readonly Address[],
    excluded: Excluded,
  ): Held | undefined {
    if (have !== undefined && !isExcluded(have.src, excluded)) return have;
    const recovered = recover(group, shown, excluded);
    if (recovered !== undefined) return recovered;
    for (const pool of group) {
      const src = space.takeLowest(pool, excluded);
      if (src !== undefined) return { dst: undefined, src, pool };
    }
    return undefined;
  }

  function recover(group: readonly Pool[], shown: readonly Address[], excluded: Excluded): Held | undefined {
    for (const pool of group) {
      const src = shown.find((address) => isIn(pool, address) && space.take(address, excluded));
      if (src !== undefined) return { dst: undefined, src, pool };
    }
    return undefined;
  }

  function takeAll(connectionId: string, shown: readonly Address[], excluded: Excluded): readonly Held[] {
    const before = held.get(connectionId) ?? [];
    const after: Held[] = [];
    for (const [index, group] of space.groups.entries()) {
      const lease = leaseFor(group, before[index], shown, excluded);
      if (lease === undefined) {
        giveBack(after.filter((taken) => !before.includes(taken)));
        throw exhausted(group, excluded, connectionId);
      }
      after.push(lease);
    }
    giveBack(before.filter((old) => !after.includes(old)));
    return after;
  }

  function giveBack(leases: readonly Held[]): void {
    for (const { src } of leases) space.give(src);
  }

  return {
    assign(connectionId, context) {
      const excluded = parseExcluded(context.excluded_prefixes);
      const shown = parseAddresses(context.src_ip_addrs, "source address");
      const leases = takeAll(connectionId, shown, excluded);
      held.set(connectionId, leases);
      const own = leases.map(({ src, pool }) => `${formatAddress(src)}/${pool.prefix.length}`);
      const cleaned = withoutAddresses(context, (address, text) => space.owns(address) && !own.includes(text));
      return { ...cleaned, src_ip_addrs: own.reduce(withAddress, cleaned.src_ip_addrs) };
    },
    release(connectionId) {
      giveBack(held.get(connectionId) ?? []);
      held.delete(connectionId);
    },
    leases: () => held.entries(),
    restore(connectionId, leases) {
      const found = space.groups.map((group, index) => {
        const src = leases[index]?.src;
        return src && recover(group, [src], { 4: [], 6: [] });
      });
      if (found.every((lease) => lease !== undefined)) held.set(connectionId, found);
      else giveBack(found.filter((lease) => lease !== undefined));
    },
  };
}

function reserved(prefix: Prefix): Address[] {
  const { first, last } = rangeOf(prefix);
  const addresses: Address[] = [{ family: prefix.family, value: first }];
  if (prefix.family === 4 && prefix.length < 31) addresses.push({ family: 4, value: last });
  return addresses;
}
