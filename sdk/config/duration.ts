/**
 * Durations in Go's syntax ("10m", "1h15m", "1.5s", "750ms"), as the environment of NSM components writes them.
 * Source of the grammar: Go time.ParseDuration.
 */
// Both letters for micro are escaped: a single letter beyond Latin-1 makes Node hold a whole bundle in two bytes a letter.
const unitMs: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["\u00b5s", 1e-3],
  ["\u03bcs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/**
 * @returns milliseconds (a fraction for less than a millisecond)
 * @throws Error with a text that names the mistake
 */
export function parseDurationMs(text: string): number {
  const [, sign = "", body = ""] = /^([+-]?)(.*)$/s.exec(text.trim()) ?? [];
  if (body === "0") return 0;
  let totalMs = 0;
  let at = 0;
  const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/y;
  while (at < body.length) {
    part.lastIndex = at;
    const found = part.exec(body);
    if (found === null) break;
    totalMs += Number(found[1]) * (unitMs.get(found[2] ?? "") ?? Number.NaN);
    at = part.lastIndex;
  }
  if (at === 0 || at < body.length || !Number.isFinite(totalMs)) {
    const hint = /^\d+(\.\d+)?$/.test(body) ? `${body}s or ${body}ms` : "10m, 1h15m, 1.5s or 750ms";
    throw new Error(`"${text}" is not a duration; write for example ${hint}`);
  }
  return sign === "-" ? -totalMs : totalMs;
}

/** The shortest exact text: 600000 → "10m", 90500 → "1m30.5s", 0 → "0s". Inverse of parseDurationMs for whole microseconds. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 0) return `-${formatDuration(-durationMs)}`;
  if (durationMs === 0) return "0s";
  if (durationMs < 1) return `${Number((durationMs * 1000).toFixed(3))}us`;
  if (durationMs < 1000) return `${Number(durationMs.toFixed(6))}ms`;
  const hours = Math.floor(durationMs / 3_600_000);
  const minutes = Math.floor((durationMs % 3_600_000) / 60_000);
  const seconds = Number(((durationMs % 60_000) / 1000).toFixed(9));
  return `${hours > 0 ? `${hours}h` : ""}${minutes > 0 ? `${minutes}m` : ""}${seconds > 0 ? `${seconds}s` : ""}`;
}
