/**
 * Settings of one component as one table: environment name, flag, kind, default and a line of help for each.
 * All problems are reported together, and the table prints itself as the component's --help.
 * Flags win over the environment. Nothing here reads the process: main.ts passes `argv` and `env`.
 */
import type { Kind } from "./kinds.js";

export interface Setting<T> {
  /** Name in the environment: upstream's where upstream has the setting, else WEFT_*. */
  readonly env: string;
  /** With its dashes: "--listen-on". */
  readonly flag: string;
  readonly kind: Kind<T>;
  /** In the words of the environment; undefined = required. */
  readonly default: string | undefined;
  readonly help: string;
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds settings of every type; Values recovers each
export type Table = Readonly<Record<string, Setting<any>>>;
export type Values<T extends Table> = { readonly [K in keyof T]: T[K] extends Setting<infer V> ? V : never };

/**
 * Makes one line of a table.
 * @param options.default  in the words of the environment; left out = required
 * @param options.flag  default: the environment name without NSM_ or WEFT_, in kebab case
 */
export function setting<T>(
  env: string,
  kind: Kind<T>,
  help: string,
  options: { readonly default?: string; readonly flag?: string } = {},
): Setting<T> {
  const flag =
    options.flag ??
    `--${env
      .replace(/^(NSM|WEFT)_/, "")
      .toLowerCase()
      .replaceAll("_", "-")}`;
  return { env, flag, kind, default: options.default, help };
}

export type Read<T> =
  | { readonly ok: true; readonly values: T }
  /** `text` is the help (exit code 0, stdout) or the list of all problems (exit code 2, stderr). */
  | { readonly ok: false; readonly exitCode: 0 | 2; readonly text: string };

/**
 * Reads all settings of a command.
 * @param command  as typed, for example "weft nsmgr"
 */
export function readSettings<T extends Table>(
  command: { readonly name: string; readonly summary: string },
  table: T,
  source: { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string | undefined>> },
): Read<Values<T>> {
  if (source.argv.includes("--help") || source.argv.includes("-h")) {
    return { ok: false, exitCode: 0, text: settingsHelp(command, table) };
  }
  const problems: string[] = [];
  const flags = readFlags(table, source.argv, problems);
  const values: Record<string, unknown> = {};
  for (const [key, entry] of Object.entries(table)) {
    const fromFlag = flags.get(entry.flag);
    const fromEnv = source.env[entry.env];
    // an empty variable counts as not set, as in upstream's envconfig; an empty flag is meant
    const given = fromFlag ?? (fromEnv === "" ? undefined : fromEnv) ?? entry.default;
    if (given === undefined) {
      problems.push(`${entry.env} (or ${entry.flag}) is required: ${entry.help}`);
      continue;
    }
    try {
      values[key] = entry.kind.parse(given);
    } catch (error) {
      const where = fromFlag !== undefined ? entry.flag : entry.env;
      problems.push(`${where}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (problems.length === 0) return { ok: true, values: values as Values<T> };
  const list = problems.map((problem) => `  ${problem}`).join("\n");
  return { ok: false, exitCode: 2, text: `${command.name}: cannot start\n${list}\nSee ${command.name} --help\n` };
}

/** Prints what readSettings refused where it belongs; the result is the exit code. */
export function reportUnread(
  read: { readonly exitCode: 0 | 2; readonly text: string },
  out: { write(text: string): unknown } = process.stdout,
  err: { write(text: string): unknown } = process.stderr,
): number {
  (read.exitCode === 0 ? out : err).write(read.text);
  return read.exitCode;
}

/** The help of a command: every setting with flag, environment name, default. */
export function settingsHelp(command: { readonly name: string; readonly summary: string }, table: Table): string {
  const lines = Object.values(table).flatMap((entry) => {
    const label = entry.kind.label === "" ? "" : ` ${entry.kind.label}`;
    const fallback = entry.default === undefined ? "required" : entry.default === "" ? "" : `default ${entry.default}`;
    return [`  ${entry.flag}${label}`, `      ${entry.help}`, `      env ${entry.env}${fallback === "" ? "" : `, ${fallback}`}`];
  });
  return `${command.summary}\n\nUsage: ${command.name} [flags]\n\nFlags (a flag wins over its environment variable):\n${lines.join("\n")}\n`;
}

function readFlags(table: Table, argv: readonly string[], problems: string[]): ReadonlyMap<string, string> {
  const known = new Map(Object.values(table).map((entry) => [entry.flag, entry]));
  const found = new Map<string, string>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? "";
    const [flag = "", inline] = splitOnce(argument);
    const entry = known.get(flag);
    const negated = known.get(flag.replace(/^--no-/, "--"));
    if (entry === undefined && flag.startsWith("--no-") && negated?.kind.label === "" && inline === undefined) {
      found.set(negated.flag, "false");
    } else if (entry === undefined) {
      problems.push(unknownArgument(argument, [...known.keys()]));
      // its value, if it has one, is not a problem of its own
      if (flag.startsWith("--") && inline === undefined && !(argv[index + 1] ?? "--").startsWith("-")) index++;
    } else if (inline !== undefined) {
      found.set(flag, inline);
    } else if (entry.kind.label === "") {
      found.set(flag, "true");
    } else if (index + 1 < argv.length && !known.has(argv[index + 1] ?? "")) {
      found.set(flag, argv[++index] ?? "");
    } else {
      problems.push(`${flag}: a value is missing (${entry.kind.label})`);
    }
  }
  return found;
}

function splitOnce(argument: string): [string, string | undefined] {
  const equals = argument.indexOf("=");
  if (!argument.startsWith("--") || equals < 0) return [argument, undefined];
  return [argument.slice(0, equals), argument.slice(equals + 1)];
}

function unknownArgument(argument: string, flags: readonly string[]): string {
  const flag = splitOnce(argument)[0];
  if (!flag.startsWith("-")) return `unexpected argument "${argument}"`;
  const nearest = flags
    .map((candidate) => ({ candidate, distance: editDistance(flag, candidate) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint = nearest !== undefined && nearest.distance <= 3 ? `; did you mean ${nearest.candidate}?` : "";
  return `unknown flag ${flag}${hint}`;
}

/** Levenshtein distance; for "did you mean". */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substituted));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
