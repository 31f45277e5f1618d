/** Which Linux capabilities this process has (capabilities(7)): CapEff of proc_pid_status(5). */
import { readFileSync } from "node:fs";

/** Bits of linux/capability.h. */
const bits = {
  CAP_NET_BROADCAST: 11n,
  CAP_NET_ADMIN: 12n,
  CAP_NET_RAW: 13n,
  CAP_SYS_PTRACE: 19n,
  CAP_SYS_ADMIN: 21n,
} as const;

export type CapabilityName = keyof typeof bits;

/** Those of `wanted` that it lacks; in a user namespace: lacks there. None where it cannot be told. */
export function missingCapabilities<Name extends CapabilityName>(
  wanted: readonly Name[],
  status: string = readFileSync("/proc/thread-self/status", "latin1"),
): Name[] {
  const effective = /^CapEff:\s*([0-9a-fA-F]{1,16})$/m.exec(status)?.[1];
  if (effective === undefined) return [];
  const has = BigInt(`0x${effective}`);
  return wanted.filter((name) => ((has >> bits[name]) & 1n) === 0n);
}
