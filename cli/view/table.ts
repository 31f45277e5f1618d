/** Text tables and lengths of time, for people (pure). */

/** Columns padded to the widest cell, two blanks apart; no trailing blanks. Control characters of cells are shown as \xNN. */
export function formatTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headers, ...rows].map((row) => row.map(printable));
  const widths = headers.map((_, column) => Math.max(...cells.map((row) => width(row[column] ?? ""))));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - width(cell))))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** Names come from the wire: they must not move the cursor of the reader's terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (found) => `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function width(text: string): number {
  return [...text].length;
}

/** "4s", "12m", "3h", "5d": the one unit a reader needs. Empty for an unknown time. */
export function age(sinceMs: number | undefined, nowMs: number): string {
  if (sinceMs === undefined) return "";
  const seconds = Math.max(0, Math.round((nowMs - sinceMs) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}

/** "a=1,b=2", sorted. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

/** Indented lines of a description: "Name:      value". */
export function formatFacts(facts: readonly (readonly [string, string])[], indent = ""): string {
  const widest = Math.max(0, ...facts.map(([name]) => width(name)));
  return facts.map(([name, value]) => `${indent}${name}:${" ".repeat(widest - width(name) + 2)}${printable(value)}\n`).join("");
}
