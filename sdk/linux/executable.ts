/** Programs of this machine. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** The first of these folders' programs of that name that we may run; undefined = there is none. */
export function findExecutable(name: string, folders: readonly string[]): string | undefined {
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** The folders of a PATH. */
export function foldersOf(path: string | undefined): string[] {
  return (path ?? "").split(delimiter).filter((folder) => folder !== "");
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
