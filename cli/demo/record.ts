/** Keeps and shows the proofs as they come. */
import { toStatusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";

export interface Proof {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** It cannot be tried on this machine; `detail` says why. It counts as neither. */
  readonly skipped?: true;
}

export interface Record {
  readonly proofs: readonly Proof[];
  /** A step that proves nothing by itself. */
  step(text: string): void;
  /**
   * Runs a proof; a text returned is its detail. One that throws is a failure, and the demo goes on.
   * @returns what the proof returned beside its detail; undefined when it failed
   */
  prove<T>(name: string, proof: () => Promise<string | { detail: string; value: T }>): Promise<T | undefined>;
  /** Proofs that could not be tried, because an earlier one failed. */
  skip(names: readonly string[], why: string): void;
  /** A proof that this machine has no means for. */
  leaveOut(name: string, why: string): void;
}

/** @param show  where progress goes: standard output, or standard error when that belongs to JSON */
export function startRecord(context: CliContext, show: CliContext["out"]): Record {
  const proofs: Proof[] = [];
  const colour = (code: number, text: string): string => (show.isTTY === true ? `\x1b[${code}m${text}\x1b[0m` : text);
  const add = (proof: Proof): void => {
    proofs.push(proof);
    const mark = proof.skipped ? colour(33, "–") : proof.ok ? colour(32, "✓") : colour(31, "✗");
    show.write(`${mark} ${proof.name}\n    ${proof.detail.replaceAll("\n", "\n    ")}\n`);
  };
  return {
    proofs,
    step: (text) => void show.write(`${colour(2, "·")} ${text}\n`),
    async prove<T>(name: string, proof: () => Promise<string | { detail: string; value: T }>) {
      try {
        const result = await proof();
        add({ name, ok: true, detail: typeof result === "string" ? result : result.detail });
        return typeof result === "string" ? undefined : result.value;
      } catch (error) {
        context.signal.throwIfAborted();
        add({ name, ok: false, detail: describeFailure(error) });
        return undefined;
      }
    },
    leaveOut(name, why) {
      add({ name, ok: true, detail: `left out: ${why}`, skipped: true });
    },
    skip(names, why) {
      for (const name of names) add({ name, ok: false, detail: `not tried: ${why}` });
    },
  };
}

function describeFailure(error: unknown): string {
  const status = toStatusError(error);
  // our own refutations are plain errors, and their text is the finding
  return status === error || !(error instanceof Error) ? status.details : error.message;
}
