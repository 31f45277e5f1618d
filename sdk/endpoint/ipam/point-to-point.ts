/**
 * Address pairs from pools (pure): for each group the endpoint's address (dst) is taken first, then the client's (src).
 * Each is a /32 or /128; dst is put into src_routes and src into dst_routes.
 * Source of the rules: behaviour of NSM's point2pointipam, strictipam and groupipam.
 */
import type { IPContext } from "../../gen/connectioncontext.js";
import { type Address, hostPrefix, type Prefix } from "../../ip.js";
import { parseAddresses, withAddress, withoutAddresses, withRoute } from "./context-addresses.js";
import type { Ipam, IpamPolicy, Lease } from "./ipam.js";
import { type Excluded, exhausted, isExcluded, isIn, type Pool, parseExcluded, pools } from "./pools.js";

interface Pair extends Lease {
  readonly dst: Address;
}

export interface IpamOptions {
  readonly policy?: IpamPolicy;
}

export function pointToPoint(prefixes: readonly (readonly Prefix[])[], { policy = "polite" }: IpamOptions = {}): Ipam {
  const space = pools(prefixes);
  /** One pair per group, in the order of the groups. */
  const held = new Map<string, readonly Pair[]>();

  /** The pair of one group: what is held, else what the request shows and is free, else the lowest free ones. */
  function pairFor(group: readonly Pool[], have: Pair | undefined, shown: Shown, excluded: Excluded): Pair | undefined {
    if (have !== undefined && !isExcluded(have.dst, excluded) && !isExcluded(have.src, excluded)) return have;
    const recovered = recover(group, shown, excluded);
    if (recovered !== undefined) return recovered;
    for (const pool of group) {
      const dst = space.takeLowest(pool, excluded);
      if (dst === undefined) continue;
      const src = space.takeLowest(pool, excluded);
      if (src !== undefined) return { dst, src };
      space.give(dst);
    }
    return undefined;
  }

  function recover(group: readonly Pool[], shown: Shown, excluded: Excluded): Pair | undefined {
    for (const pool of group) {
      for (const dst of shown.dst.filter((address) => isIn(pool, address))) {
        if (!space.take(dst, excluded)) continue;
        const src = shown.src.find((address) => isIn(pool, address) && space.take(address, excluded));
        if (src !== undefined) return { dst, src };
        space.give(dst);
      }
    }
    return undefined;
  }

  /** Takes a pair in every group or, when one has none left, changes nothing. */
  function takeAll(connectionId: string, shown: Shown, excluded: Excluded): readonly Pair[] {
    const before = held.get(connectionId) ?? [];
    const after: Pair[] = [];
    for (const [index, group] of space.groups.entries()) {
      const pair = pairFor(group, before[index], shown, excluded);
      if (pair === undefined) {
        giveBack(after.filter((taken) => !before.includes(taken)));
        throw exhausted(group, excluded, connectionId);
      }
      after.push(pair);
    }
    giveBack(before.filter((old) => !after.includes(old)));
    return after;
  }

  function giveBack(pairs: readonly Pair[]): void {
    for (const { dst, src } of pairs) {
      space.give(dst);
      space.give(src);
    }
  }

  return {
    assign(connectionId, context) {
      const excluded = parseExcluded(context.excluded_prefixes);
      const shown: Shown = {
        src: parseAddresses(context.src_ip_addrs, "source address"),
        dst: parseAddresses(context.dst_ip_addrs, "destination address"),
      };
      const pairs = takeAll(connectionId, shown, excluded);
      held.set(connectionId, pairs);
      const foreign = [...shown.src, ...shown.dst].some((address) => !space.owns(address));
      const base = policy === "strict" && foreign ? emptied(context) : context;
      // An address of our pools that is not this connection's belongs to somebody else, or will: it may not keep it.
      // Nor may it keep its own in another spelling or with another mask.
      const own = new Set(pairs.flatMap(({ dst, src }) => [hostPrefix(dst), hostPrefix(src)]));
      return withPairs(
        withoutAddresses(base, (address, text) => space.owns(address) && !own.has(text)),
        pairs,
      );
    },
    release(connectionId) {
      giveBack(held.get(connectionId) ?? []);
      held.delete(connectionId);
    },
    leases: () => held.entries(),
    restore(connectionId, leases) {
      const pairs = space.groups.map((group, index) => {
        const { dst, src } = leases[index] ?? {};
        return dst === undefined || src === undefined ? undefined : recover(group, { dst: [dst], src: [src] }, nothing);
      });
      if (pairs.every((pair) => pair !== undefined)) held.set(connectionId, pairs);
      else giveBack(pairs.filter((pair) => pair !== undefined));
    },
  };
}

/** Addresses that a request brings along. */
interface Shown {
  readonly src: readonly Address[];
  readonly dst: readonly Address[];
}

const nothing: Excluded = { 4: [], 6: [] };

function emptied(context: IPContext): IPContext {
  return { ...context, src_ip_addrs: [], dst_ip_addrs: [], src_routes: [], dst_routes: [], ip_neighbors: [] };
}

function withPairs(context: IPContext, pairs: readonly Pair[]): IPContext {
  let { dst_ip_addrs, src_ip_addrs, src_routes, dst_routes } = context;
  for (const pair of pairs) {
    const dst = hostPrefix(pair.dst);
    const src = hostPrefix(pair.src);
    dst_ip_addrs = withAddress(dst_ip_addrs, dst);
    src_ip_addrs = withAddress(src_ip_addrs, src);
    src_routes = withRoute(src_routes, dst);
    dst_routes = withRoute(dst_routes, src);
  }
  return { ...context, dst_ip_addrs, src_ip_addrs, src_routes, dst_routes };
}
