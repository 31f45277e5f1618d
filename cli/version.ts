/** The version of this package, from its package.json. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Searches upwards, because compiled code lies one folder deeper than the sources. */
function readVersion(folder: string): string {
  try {
    const found = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name?: string; version?: string };
    if (found.name === "weft") return found.version ?? "unknown";
  } catch {
    // not here
  }
  const parent = dirname(folder);
  return parent === folder ? "unknown" : readVersion(parent);
}

export const version = readVersion(dirname(fileURLToPath(import.meta.url)));
