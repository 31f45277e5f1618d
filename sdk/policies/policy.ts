/** Policies and how they are asked: in order, the first refusal counts. */
import type { Peer } from "../peer.js";
import { Code, type StatusError, statusError } from "../status.js";
import type { Audit } from "./audit.js";
import type { PolicyInput } from "./input.js";

export interface Policy {
  /** The path of its file, or what stands for it. */
  readonly name: string;
  /**
   * @returns why it refuses, for the log; undefined = allowed
   * @throws anything when it cannot be evaluated
   */
  readonly decide: (input: PolicyInput) => string | undefined;
}

/** The policies in force; they may change from one question to the next. */
export interface PolicySource {
  current(): readonly Policy[];
}

export interface Question {
  readonly method: string;
  readonly peer: Peer;
  readonly object: string;
  readonly input: PolicyInput;
  /** Policies that do not count for this question. */
  readonly except?: string;
}

/**
 * @throws PERMISSION_DENIED when one refuses, INTERNAL when one cannot be evaluated; the reason is only in the audit log
 */
export function ask(source: PolicySource, question: Question, audit: Audit): void {
  for (const { name, decide } of source.current()) {
    if (name === question.except) continue;
    let reason: string | undefined;
    try {
      reason = decide(question.input);
    } catch (error) {
      audit({ ...question, policy: name, reason: `the policy cannot be evaluated: ${textOf(error)}` });
      throw statusError(Code.INTERNAL, "a policy could not be evaluated");
    }
    if (reason !== undefined) {
      audit({ ...question, policy: name, reason });
      throw noPrivileges();
    }
  }
}

/** What a refused peer hears, in upstream's words. */
export function noPrivileges(): StatusError {
  return statusError(Code.PERMISSION_DENIED, "no sufficient privileges");
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
