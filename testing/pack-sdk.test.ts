import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));

test("@weft/sdk: packed from compiled output, installed beside its dependencies, it offers what the README shows", (t) => {
  mkdirSync(join(top, "dist"), { recursive: true });
  // inside the checkout, so that the dependencies are found without a registry
  const folder = mkdtempSync(join(top, "dist", "pack-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const tarball = run(process.execPath, [join(top, "sdk", "pack.mjs"), folder]).trim();
  const home = join(folder, "node_modules", "@weft", "sdk");
  mkdirSync(home, { recursive: true });
  run("tar", ["-xzf", tarball, "-C", home, "--strip-components=1"]);
  const files = run("tar", ["-tzf", tarball]);
  assert.match(files, /package\/LICENSE/);
  assert.match(files, /package\/entry\.d\.ts/);
  assert.doesNotMatch(files, /\.test\.|package\/testing\//);
  const script = 'import * as sdk from "@weft/sdk"; console.log(Object.keys(sdk).sort().join(" "))';
  const offered = run(process.execPath, ["--input-type=module", "--eval", script], folder);
  for (const name of ["connect", "passthrough", "serve"]) assert.ok(offered.split(/\s/).includes(name), offered);
  const { dependencies } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
  for (const file of files.split("\n").filter((name) => name.endsWith(".js"))) {
    const code = readFileSync(join(home, file.replace(/^package\//, "")), "utf8");
    for (const [, specifier = ""] of code.matchAll(/(?:from|import)\s*\(?\s*"([^".][^"]*)"/g)) {
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      assert.ok(specifier.startsWith("node:") || Object.hasOwn(dependencies, name), `${file} imports ${specifier}`);
    }
  }
});

test("@weft/sdk depends on the versions that are tested here", () => {
  const read = (path: string): { dependencies: Record<string, string>; license: string } =>
    JSON.parse(readFileSync(join(top, path), "utf8"));
  const [root, sdk] = [read("package.json"), read("sdk/package.json")];
  assert.equal(sdk.license, "Apache-2.0");
  for (const [name, version] of Object.entries(sdk.dependencies)) assert.equal(version, root.dependencies[name], name);
});

function run(command: string, args: readonly string[], cwd = top): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
