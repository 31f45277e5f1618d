/** Messages as plain data for JSON and YAML: times as text, no bookkeeping fields. */

/** A copy that JSON and YAML can hold. */
export function plain(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value !== "object" || value === null) return value;
  if (isTimestamp(value)) return new Date(value.seconds * 1000 + value.nanos / 1e6).toISOString();
  const entries = Object.entries(value).filter(([key, held]) => key !== "_unknownFields" && held !== undefined);
  return Object.fromEntries(entries.map(([key, held]) => [key, plain(held)]));
}

function isTimestamp(value: object): value is { seconds: number; nanos: number } {
  const { seconds, nanos } = value as { seconds?: unknown; nanos?: unknown };
  return typeof seconds === "number" && typeof nanos === "number" && Math.abs(seconds) < 8.64e12;
}
