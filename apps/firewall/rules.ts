/** The rules of the firewall, whatever file format they were written in. They are tried in order; the first that fits decides. */
import type { Family, Prefix } from "../../sdk/ip.js";

/**
 * permit  = let it pass, and let pass what comes back with addresses and ports swapped
 * deny    = drop it, in both directions
 * reflect = let it pass from the client and remember the flow; only answers of remembered flows come back
 */
export type Verdict = "permit" | "deny" | "reflect";

/** Both ends included; 0 … 65535. */
export interface Numbers {
  readonly first: number;
  readonly last: number;
}

/** As seen in the direction from the client to the network; undefined = any. */
export interface Rule {
  readonly name: string;
  readonly verdict: Verdict;
  /** Undefined: both IPv4 and IPv6. */
  readonly family: Family | undefined;
  readonly source: Prefix | undefined;
  readonly destination: Prefix | undefined;
  /** IP protocol number (IANA). */
  readonly protocol: number | undefined;
  /** Only with TCP, UDP, SCTP, DCCP and UDP-Lite. */
  readonly sourcePorts: Numbers | undefined;
  readonly destinationPorts: Numbers | undefined;
  /** Only with ICMP and ICMPv6; the same in both directions. */
  readonly icmpTypes: Numbers | undefined;
  readonly icmpCodes: Numbers | undefined;
  /** Only with TCP: the rule fits when flags & mask = value. */
  readonly tcpFlags: { readonly mask: number; readonly value: number } | undefined;
}

export const protocolNumber = { icmp: 1, tcp: 6, udp: 17, dccp: 33, icmpv6: 58, sctp: 132, udplite: 136 } as const;

export function isIcmp(protocol: number | undefined): boolean {
  return protocol === protocolNumber.icmp || protocol === protocolNumber.icmpv6;
}

export function hasPorts(protocol: number | undefined): boolean {
  const { tcp, udp, dccp, sctp, udplite } = protocolNumber;
  return [tcp, udp, dccp, sctp, udplite].some((number) => number === protocol);
}

/** What a file says. `warnings` are about rules that are accepted and hardly meant so. */
export interface RuleSet {
  readonly rules: readonly Rule[];
  readonly warnings: readonly string[];
}

/** More would only make every packet slow. */
export const maxRules = 4096;
