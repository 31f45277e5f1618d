/** What a process has used, from /proc (proc(5)). */
import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ; fixed at 100 for user space on Linux. */
const ticksPerSecond = 100;

/** User and system time of a process in milliseconds; resolution 10 ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}

/** Resident set size in MiB. */
export function residentMiB(pid: number): number {
  const line = readFileSync(`/proc/${pid}/status`, "utf8").match(/^VmRSS:\s+(\d+) kB$/m);
  return Number(line?.[1] ?? 0) / 1024;
}

/** The part of it that is in no file: pages of files that are mapped go when the kernel wants their room. */
export function anonymousMiB(pid: number): number {
  const line = readFileSync(`/proc/${pid}/status`, "utf8").match(/^RssAnon:\s+(\d+) kB$/m);
  return Number(line?.[1] ?? 0) / 1024;
}

/** How many descriptors a process has open. */
export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The value below which the given part (0 … 1) of the samples lies; sorts the array. */
export function percentile(samples: number[], part: number): number {
  samples.sort((a, b) => a - b);
  return samples[Math.min(samples.length - 1, Math.floor(samples.length * part))] ?? 0;
}
