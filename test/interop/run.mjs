#!/usr/bin/env node
// Runs the interop suite: builds the Go module and this repository, then all meshes of Go and Weft parts; closes with
// "N passed, N failed, N skipped".
//   run.mjs [--write-docs] [--only TEXT] [--variants tcp+plain,tcp+mtls,…]
// --write-docs writes docs/interop.md from the run. Without Go the whole suite is skipped, and says so.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { staleFolder, weftFolders } from "../../scripts/freshness.mjs";
import { render } from "./render.mjs";

const top = fileURLToPath(new URL("../..", import.meta.url));
const goModule = join(top, "test", "interop", "go");
const { values: flags } = parseArgs({
  options: { "write-docs": { type: "boolean" }, only: { type: "string" }, variants: { type: "string" } },
});

const folder = mkdtempSync(join(tmpdir(), "wt-interop-run-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
process.exitCode = await main();

async function main() {
  const go = spawnSync("go", ["version"], { encoding: "utf8" });
  if (go.status !== 0) {
    console.log("﹣ interop # SKIP Go is not installed: go 1.24 or newer in PATH makes it run");
    console.log("0 passed, 0 failed, 1 skipped");
    return 0;
  }
  const binary = join(folder, "interop");
  const built = spawnSync("go", ["build", "-o", binary, "."], { cwd: goModule, stdio: "inherit" });
  if (built.status !== 0) return 1;
  const results = join(folder, "results.json");
  const code = await runMatrix(binary, results);
  if (flags["write-docs"]) {
    const versions = { ...moduleVersions(), Go: go.stdout.split(" ")[2].replace("go", ""), "Node.js": process.version.slice(1) };
    const { outcomes, beside, rows } = read(results);
    writeFileSync(join(top, "docs", "interop.md"), render(outcomes, beside, rows, versions));
  }
  return code;
}

/** From the compiled code when it is fresh, else from the sources. */
function program() {
  const folders = [...weftFolders, "test"];
  if (staleFolder(top, folders) !== undefined) spawnSync("npx", ["tsc", "-b", "test"], { cwd: top, stdio: "ignore" });
  const compiled = join(top, "dist", "test", "interop", "matrix.js");
  if (existsSync(compiled) && staleFolder(top, folders) === undefined) return [compiled];
  return ["--import", "tsx", join(top, "test", "interop", "matrix.ts")];
}

function runMatrix(binary, results) {
  const env = {
    ...process.env,
    WEFT_INTEROP_BINARY: binary,
    WEFT_INTEROP_RESULTS: results,
    ...(flags.only && { WEFT_INTEROP_ONLY: flags.only }),
    ...(flags.variants && { WEFT_INTEROP_VARIANTS: flags.variants }),
  };
  const args = ["--test-reporter=spec", "--test-reporter-destination=stdout", ...program()];
  const child = spawn(process.execPath, args, { cwd: top, env, stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.on("data", (chunk) => process.stdout.write(chunk));
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const { outcomes, beside } = read(results);
      const count = (outcome) => [...outcomes, ...beside].filter((result) => result.outcome === outcome).length;
      const failed = count("failed");
      // what fails outside a row (a part that does not start) has no row to be counted in
      console.log(`${count("passed")} passed, ${failed === 0 && code !== 0 ? 1 : failed} failed, ${count("skipped")} skipped`);
      resolve(code ?? 1);
    });
  });
}

function moduleVersions() {
  const text = readFileSync(join(goModule, "go.mod"), "utf8");
  const version = (name) => new RegExp(`networkservicemesh/${name} (\\S+)`).exec(text)?.[1];
  return {
    Weft: JSON.parse(readFileSync(join(top, "package.json"), "utf8")).version,
    "github.com/networkservicemesh/sdk": version("sdk"),
    "github.com/networkservicemesh/api": version("api"),
  };
}

function read(results) {
  return existsSync(results) ? JSON.parse(readFileSync(results, "utf8")) : { outcomes: [], beside: [], rows: [] };
}
