/**
 * The kinds of value a setting can have: text of the environment or a flag → typed value. A parser throws an Error
 * whose text says what is wrong and shows a right example; the table adds the name of the setting.
 */
import { parseDurationMs } from "./duration.js";

export interface Kind<T> {
  /** What stands after the flag in the help, for example "DURATION". Empty = a switch without value. */
  readonly label: string;
  readonly parse: (text: string) => T;
}

/** Any text. */
export const text: Kind<string> = { label: "TEXT", parse: (value) => value };

/** Text that is not empty. */
export const name: Kind<string> = {
  label: "NAME",
  parse(value) {
    if (value.trim() === "") throw new Error("must not be empty");
    return value.trim();
  },
};

/** A switch. As a flag it stands alone, `--no-x` and `--x=false` turn it off. Go's strconv.ParseBool spellings. */
export const boolean: Kind<boolean> = {
  label: "",
  parse(value) {
    if (/^(1|t|true|yes|on)$/i.test(value)) return true;
    if (/^(0|f|false|no|off|)$/i.test(value)) return false;
    throw new Error(`"${value}" is neither true nor false`);
  },
};

/** A whole number within bounds (both included). */
export function integer(bounds: { min?: number; max?: number } = {}): Kind<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds;
  return {
    label: "NUMBER",
    parse(value) {
      if (!/^[+-]?\d+$/.test(value.trim())) throw new Error(`"${value}" is not a whole number`);
      const number = Number(value);
      if (number < min || number > max) throw new Error(`${value} is not between ${min} and ${max}`);
      return number;
    },
  };
}

/** A duration in Go's syntax → milliseconds; not negative. */
export const durationMs: Kind<number> = {
  label: "DURATION",
  parse(value) {
    const ms = parseDurationMs(value);
    if (ms < 0) throw new Error(`"${value}" is negative`);
    return ms;
  },
};

/** Comma-separated values; blanks around and empty ones are dropped. */
export function list<T>(item: Kind<T>): Kind<readonly T[]> {
  return {
    label: `${item.label},…`,
    parse: (value) =>
      value
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== "")
        .map(item.parse),
  };
}

/** `k:v,k:v` → a map without prototype, so that no key can collide with Object's own. A value may contain colons. */
export const map: Kind<Readonly<Record<string, string>>> = {
  label: "KEY:VALUE,…",
  parse(value) {
    const result: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const pair of list(text).parse(value)) {
      const colon = pair.indexOf(":");
      if (colon < 1) throw new Error(`"${pair}" is not key:value`);
      const key = pair.slice(0, colon).trim();
      if (Object.hasOwn(result, key)) throw new Error(`key "${key}" is given twice`);
      result[key] = pair.slice(colon + 1).trim();
    }
    return result;
  },
};

/** One of a few words; case does not matter, the spelling given here is the result. */
export function oneOf<const T extends string>(...choices: readonly T[]): Kind<T> {
  return {
    label: choices.join("|"),
    parse(value) {
      const found = choices.find((choice) => choice.toLowerCase() === value.trim().toLowerCase());
      if (found === undefined) throw new Error(`"${value}" is not one of ${choices.join(", ")}`);
      return found;
    },
  };
}

/** The same kind, where the empty text (and an absent setting) means undefined. */
export function optional<T>(kind: Kind<T>): Kind<T | undefined> {
  return { label: kind.label, parse: (value) => (value === "" ? undefined : kind.parse(value)) };
}

/** An address to listen on or to dial: unix:///path, tcp://host:port, host:port or :port. Only the form is checked. */
export const address: Kind<string> = {
  label: "URL",
  parse(value) {
    const trimmed = value.trim();
    if (/^unix:(\/\/)?.+/.test(trimmed)) return trimmed;
    const port = Number(/^(?:tcp:\/\/)?(?:\[[^\]]+\]|[^\s/[\]:]*):(\d{1,5})$/.exec(trimmed)?.[1] ?? Number.NaN);
    if (port >= 0 && port <= 65535) return trimmed;
    throw new Error(`"${value}" is not an address; write unix:///path/to.sock, tcp://host:port or :port`);
  },
};
