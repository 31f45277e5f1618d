#!/usr/bin/env node
// Packs @weft/sdk or @weft/testing from compiled output: node sdk/pack.mjs sdk|testing [FOLDER]. Prints the tarball's path.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
// The SDK is one folder; the test domain is all components, each in its own folder as in the checkout.
const packages = {
  sdk: { from: "dist/sdk", entry: "entry" },
  testing: { from: "dist", entry: "testing/start-domain" },
};
const name = process.argv[2] ?? "sdk";
const wanted = packages[name];
if (wanted === undefined) throw new Error(`nothing to pack is called ${name}; use sdk or testing`);
const destination = resolve(process.argv[3] ?? ".");
const compiled = join(top, wanted.from);
const staging = mkdtempSync(join(tmpdir(), "weft-pack-"));
try {
  run(process.execPath, [join(top, "node_modules", "typescript", "bin", "tsc"), "-b", name], top);
  for (const file of reachable(wanted.entry)) cpSync(join(compiled, file), join(staging, file));
  cpSync(join(top, "LICENSE"), join(staging, "LICENSE"));
  for (const file of ["package.json", "README.md"]) writeFileSync(join(staging, file), readFileSync(join(top, name, file)));
  const packed = run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", destination], staging);
  const [{ filename }] = JSON.parse(packed);
  console.log(join(destination, filename));
} finally {
  rmSync(staging, { recursive: true, force: true });
}

/** Every compiled file that the entry needs, code and types, from the imports they contain. */
function reachable(entry) {
  const modules = new Set([entry]);
  const found = [];
  for (const module of modules) {
    for (const file of [`${module}.js`, `${module}.d.ts`].filter((name) => existsSync(join(compiled, name)))) {
      found.push(file);
      const code = readFileSync(join(compiled, file), "utf8");
      for (const [, specifier] of code.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)\.js"/g))
        modules.add(join(dirname(module), specifier));
    }
  }
  return found;
}

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (status === 0) return stdout;
  process.stderr.write(`${stdout ?? ""}${stderr ?? ""}`);
  throw new Error(`${command} ${args.join(" ")} failed: ${error?.message ?? `exit code ${status}`}`);
}
