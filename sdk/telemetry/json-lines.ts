/**
 * Lines of JSON, written at once. Values come from anywhere, so each line is bounded: what lies deep, or is long, or cannot
 * be read is left out, and no value makes the writer fail.
 */
import { writeSync } from "node:fs";

/** Deeper objects are told by their kind only. */
const maxDepth = 5;
/** Of one object or list. */
const maxEntries = 100;
const maxTextLetters = 16 * 1024;
/** How long a full pipe is left alone before the next attempt, in milliseconds. */
const pauseMs = 10;

/** One line without its end; `message` stands last, undefined fields are left out. */
export function jsonLine(fields: Readonly<Record<string, unknown>>, describe: (error: Error) => unknown): string {
  return JSON.stringify(copyOf(fields, describe, 0));
}

/**
 * Writes all of it before it returns, so that nothing is lost in a crash; waits where the reader of a pipe is slow. When
 * nobody can read it any more (EPIPE, a full disk) it is dropped: a log must not end who writes it.
 */
export function writeAll(fd: number, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  }
}

function copyOf(value: unknown, describe: (error: Error) => unknown, depth: number): unknown {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string") return value.length > maxTextLetters ? `${value.slice(0, maxTextLetters)}…` : value;
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  try {
    const shown = value instanceof Error ? describe(value) : "toJSON" in value ? jsonOf(value) : value;
    if (typeof shown !== "object" || shown === null) return copyOf(shown, describe, depth);
    if (depth > maxDepth) return Array.isArray(shown) ? "[list]" : "[object]";
    if (Array.isArray(shown)) return shown.slice(0, maxEntries).map((entry) => copyOf(entry, describe, depth + 1));
    if (ArrayBuffer.isView(shown)) return `${shown.byteLength} bytes`;
    const entries = Object.entries(shown).slice(0, maxEntries);
    return Object.fromEntries(entries.map(([key, entry]) => [key, copyOf(entry, describe, depth + 1)]));
  } catch {
    return "[unreadable]";
  }
}

function jsonOf(value: object): unknown {
  const { toJSON } = value as { toJSON: unknown };
  return typeof toJSON === "function" ? toJSON.call(value) : value;
}
