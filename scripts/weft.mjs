#!/usr/bin/env node
// The command `weft`: the compiled code if it is fresh, else the sources through tsx.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { staleFolder } from "./freshness.mjs";

const top = fileURLToPath(new URL("..", import.meta.url));
const compiled = join(top, "dist", "cli", "main.js");
const source = join(top, "cli", "main.ts");
// processes that weft starts run the same code as it does, whatever is edited meanwhile
const pinned = process.env.WEFT_RUN_FROM;
const useCompiled =
  existsSync(compiled) && (pinned === "dist" || !existsSync(source) || (pinned !== "sources" && staleFolder(top) === undefined));
if (!useCompiled) {
  let tsx;
  try {
    tsx = await import("tsx/esm/api");
  } catch {
    console.error("weft: neither a fresh build nor the packages to run the sources are here; run `node scripts/setup.mjs` first");
    process.exit(1);
  }
  tsx.register();
}
process.env.WEFT_RUN_FROM = useCompiled ? "dist" : "sources";
const { main } = await import(pathToFileURL(useCompiled ? compiled : source).href);
process.exitCode = await main({
  argv: process.argv.slice(2),
  env: process.env,
  self: [process.execPath, fileURLToPath(import.meta.url)],
});
