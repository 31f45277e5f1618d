/**
 * check-entry — refuses what cannot be kept or found again.
 * Fails: INVALID_ARGUMENT, naming the field and what is wrong with it
 */
import type { RegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { Code, type StatusError, statusError } from "../sdk/status.js";
import type { Entry, Kind } from "./kind.js";

export const maxNameLength = 512;
export const maxUrlLength = 2_048;
/** A watcher's buffer counts entries, so an entry must have a bound of its own. */
export const maxEntryBytes = 64 * 1024;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controlOrBlank = /[\u0000-\u0020\u007f]/;

export function checkEntry<T extends Entry>(kind: Kind<T>): Element<RegistryApi<T>> {
  return {
    name: "check-entry",
    steps: {
      async register(entry, _context, rest) {
        demandKeepable(kind, entry);
        return rest.register(entry);
      },
      async unregister(entry, _context, rest) {
        checkName(kind, entry);
        await rest.unregister(entry);
      },
    },
  };
}

/** @throws INVALID_ARGUMENT when the entry cannot be kept */
export function demandKeepable<T extends Entry>(kind: Kind<T>, entry: T): void {
  checkName(kind, entry);
  const url = kind.url(entry);
  if (url.length > maxUrlLength) throw refusal(kind, entry, `its url has ${url.length} characters, at most ${maxUrlLength}`);
  if (controlOrBlank.test(url)) throw refusal(kind, entry, "its url contains blanks or control characters");
  if (kind.services(entry).some((service) => control.test(service))) {
    throw refusal(kind, entry, "a network service name contains control characters");
  }
  const bytes = kind.encode(entry).length;
  if (bytes > maxEntryBytes) throw refusal(kind, entry, `it has ${bytes} bytes, at most ${maxEntryBytes}`);
}

function checkName<T extends Entry>(kind: Kind<T>, { name }: T): void {
  if (name === "") throw statusError(Code.INVALID_ARGUMENT, `the ${kind.noun} has no name: set the field "name"`);
  if (name.length > maxNameLength) {
    const start = `${name.slice(0, 40)}…`;
    throw statusError(
      Code.INVALID_ARGUMENT,
      `the name of ${kind.noun} ${start} has ${name.length} characters, at most ${maxNameLength}`,
    );
  }
  if (control.test(name)) {
    throw statusError(Code.INVALID_ARGUMENT, `the name of ${kind.noun} ${JSON.stringify(name)} contains control characters`);
  }
}

function refusal<T extends Entry>(kind: Kind<T>, { name }: T, why: string): StatusError {
  return statusError(Code.INVALID_ARGUMENT, `${kind.noun} ${name} cannot be registered: ${why}`);
}
