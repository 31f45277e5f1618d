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

/**
 * Nothing at present. A part of Go that is not built, or a row that a peer cannot take part in, is named here.
 * @param row  absent: asks for the whole set-up
 */
export function skipReason(_setup: Setup, _variant: Variant, _row?: string): string | undefined {
  return undefined;
}
