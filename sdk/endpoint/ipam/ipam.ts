/** What an endpoint asks of its address management. Everything is pure and synchronous. */
import type { IPContext } from "../../gen/connectioncontext.js";
import type { Address } from "../../ip.js";

export interface Ipam {
  /**
   * The context with this connection's addresses and host routes in it; the same ones each time it is called for the
   * connection, unless they have been excluded since. The input is not changed.
   * @throws RESOURCE_EXHAUSTED no address is left (nothing is taken then); INVALID_ARGUMENT a malformed address or prefix
   */
  assign(connectionId: string, context: IPContext): IPContext;
  /** Gives the connection's addresses back; unknown ids are fine. */
  release(connectionId: string): void;
  /** Addresses held now, for each connection. */
  leases(): Iterable<readonly [connectionId: string, leases: readonly Lease[]]>;
  /** Reserves addresses held before a restart. Those outside the pools or taken meanwhile are left out. */
  restore(connectionId: string, leases: readonly Lease[]): void;
}

/** What one connection holds of one group. */
export interface Lease {
  /** The endpoint's own address; undefined when the client alone gets one. */
  readonly dst: Address | undefined;
  /** The client's address. */
  readonly src: Address;
}

/**
 * What to do with addresses in a request that are in none of the pools:
 * strict forgets them and all routes of the request; polite lets them be beside the pool's.
 */
export type IpamPolicy = "strict" | "polite";
