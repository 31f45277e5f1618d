/** The `opa` command of this machine, for policies written as Rego text. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** OPA in the environment names it, else it is looked for in PATH; undefined = there is none. */
export function findOpa(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const named = env["OPA"];
  if (named) return isExecutable(named) ? named : undefined;
  return (env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, "opa"))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
