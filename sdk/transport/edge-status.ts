/** Statuses on their way out of the process: what the caller is told, and what our log keeps. */
import type { CallContext } from "../chain.js";
import { describePeer } from "../peer.js";
import { Code, codeName, type StatusError, statusError, toStatusError } from "../status.js";
import { callFields } from "../telemetry/call-fields.js";
import type { Log } from "../telemetry/log.js";
import type { WireStatus } from "./h2/answer.js";
import type { Fields } from "./h2/header-decoder.js";
import { hinted } from "./retry-hint.js";

/** A details text in a trailer is percent-encoded, up to nine bytes a character, and a header block holds 64 KiB. */
const maxDetails = 4096;

/** The status a call leaves with. When it was cut short, the reason of the cut counts, not what the cut caused. */
export function leavingStatus(error: unknown, signal: AbortSignal): StatusError {
  const status = toStatusError(error);
  if (signal.aborted && (status.code === Code.CANCELLED || error === signal.reason)) return toStatusError(signal.reason);
  return status;
}

/** CANCELLED is the caller's word: a stream that ends from this side for whatever reason asks to be opened again. */
export function streamStatus(status: StatusError | undefined, signal: AbortSignal): StatusError | undefined {
  if (status?.code !== Code.CANCELLED || signal.aborted) return status;
  return statusError(Code.UNAVAILABLE, status.details, status);
}

export function wireStatus(error: unknown): WireStatus {
  const { code, details, fields } = toStatusError(error) as StatusError & { fields?: Fields };
  // half of a character is none
  const text = details
    .slice(0, maxDetails)
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return { code, details: text, fields };
}

/** @param afterMs  default: half a second to one and a half, so that many do not come back at once */
export function withRetryHint(status: StatusError, afterMs = 500 + Math.floor(Math.random() * 1000)): StatusError {
  return hinted(statusError(status.code, status.details, status.cause), afterMs);
}

export function logFailure(log: Log, method: string, status: StatusError, context: CallContext, input: unknown): void {
  const level = status.code === Code.INTERNAL ? "error" : status.code === Code.CANCELLED ? "debug" : "info";
  if (!log.enabled(level)) return;
  const fields = { method, code: codeName(status.code), peer: describePeer(context.peer), ...callFields(context, input) };
  const cause = status.cause === undefined ? {} : { error: status };
  log[level](`${method} failed: ${status.details}`, { ...fields, ...cause });
}
