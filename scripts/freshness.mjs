// Whether the compiled code in dist/ is that of the sources, and the installed packages are those of the lock file.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Folders that the command `weft` consists of. */
export const weftFolders = ["sdk", "registry", "nsmgr", "forwarder", "node", "webhook", "apps", "cli"];

/** @returns the first folder whose sources are newer than its build (or that was never built); undefined = all fresh */
export function staleFolder(top, folders = weftFolders) {
  return folders.find((folder) => {
    const stamp = statSync(join(top, "dist", folder, ".tsbuildinfo"), { throwIfNoEntry: false });
    return stamp === undefined || newestSourceMs(join(top, folder)) > stamp.mtimeMs;
  });
}

function newestSourceMs(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestSourceMs(path));
    else if (entry.name.endsWith(".ts") && !entry.name.endsWith(".test.ts")) newest = Math.max(newest, statSync(path).mtimeMs);
  }
  return newest;
}

/** @returns why packages must be installed, in words; undefined = they are as the lock file says */
export function stalePackages(top) {
  const installed = join(top, "node_modules", ".package-lock.json");
  if (!existsSync(installed)) return "node_modules is missing";
  const wanted = JSON.parse(readFileSync(join(top, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(installed, "utf8")).packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === "" || entry.optional || entry.peer) continue;
    if (present[path]?.version !== entry.version) return `${path.replace("node_modules/", "")} is not at ${entry.version}`;
  }
  return undefined;
}
