/**
 * The W3C `traceparent` header: version-traceid-parentid-flags (https://www.w3.org/TR/trace-context/).
 * Every request carries one even when no collector is configured: it joins the log lines of all components.
 */
import { randomFillSync } from "node:crypto";

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** Random bytes are drawn in blocks: one system call serves a hundred requests. */
const pool = Buffer.alloc(2400);
let used = pool.length;

/** A new trace. Not sampled: no collector asked for it. */
export function newTraceparent(): string {
  if (used + 24 > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const digits = pool.toString("hex", used, used + 24);
  used += 24;
  return `00-${digits.slice(0, 32)}-${digits.slice(32)}-00`;
}

/** @returns undefined for anything malformed: a broken header starts a new trace, it never fails a request */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  if (text === undefined) return undefined;
  const found = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(text);
  const [, traceId = "", spanId = "", flags = ""] = found ?? [];
  if (found === null || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.sampled ? "01" : "00"}`;
}
