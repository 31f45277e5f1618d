import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The repository's top folder, with a trailing slash. Found from the sources, also when the compiled test runs. */
export const top = fileURLToPath(new URL("../../", import.meta.url)).replace(/dist\/$/, "");

/** Absolute paths of files that are or will be committed and whose repository path passes the filter. */
export function trackedFiles(filter: (path: string) => boolean): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: top, encoding: "utf8" })
    .split("\n")
    .filter((path) => path !== "" && filter(path) && existsSync(top + path))
    .map((path) => top + path);
}
