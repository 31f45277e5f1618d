/** What cannot run yet, with what would make it run. */
import type { Variant } from "./mesh.js";
import type { Setup } from "./setups.js";

export interface Result {
  readonly setup: string;
  readonly variant: Variant;
  readonly row: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly reason?: string;
  readonly tookMs: number;
}

/** @param row  absent: asks for the whole set-up */
export function skipReason(setup: Setup, variant: Variant, row?: string): string | undefined {
  if (row !== undefined) return undefined;
  const kinds = Object.values(setup.kinds);
  if (variant.transport === "unix" && setup.kinds.nsmgr === "go" && kinds.includes("weft")) {
    return "a Go manager waits for descriptors over unix sockets: needs descriptor passing";
  }
  return undefined;
}
