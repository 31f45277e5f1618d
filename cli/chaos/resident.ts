/** Resident memory of a process, in MiB; 0 when there is none (any more). */
import { readFileSync } from "node:fs";

const pageBytes = 4096;

export function residentMiB(pid: number | undefined): number {
  if (pid === undefined) return 0;
  try {
    return (Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * pageBytes) / 2 ** 20;
  } catch {
    return 0;
  }
}
