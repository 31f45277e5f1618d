/** The `opa` command of this machine, for policies written as Rego text. */
import { findExecutable, foldersOf, isExecutable } from "../linux/executable.js";

/** OPA in the environment names it, else it is looked for in PATH; undefined = there is none. */
export function findOpa(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const named = env["OPA"];
  if (named) return isExecutable(named) ? named : undefined;
  return findExecutable("opa", foldersOf(env["PATH"]));
}
