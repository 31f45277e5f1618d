/** Both packages, packed from compiled output and installed beside their dependencies, do what their README shows. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));

test("@weft/sdk offers connect, serve and passthrough", (t) => {
  const { folder, files } = install(t, "sdk");
  assert.match(files, /package\/entry\.d\.ts/);
  const script = 'import * as sdk from "@weft/sdk"; console.log(Object.keys(sdk).sort().join(" "))';
  const offered = run(process.execPath, ["--input-type=module", "--eval", script], folder);
  for (const name of ["connect", "passthrough", "serve"]) assert.ok(offered.split(/\s/).includes(name), offered);
});

test("@weft/testing runs the mesh of its README", (t) => {
  const { folder } = install(t, "testing");
  const readme = readFileSync(join(top, "testing", "README.md"), "utf8");
  const script = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? "";
  assert.equal(run(process.execPath, ["--input-type=module", "--eval", script], folder).trim(), "[ '10.0.0.1/32' ]");
});

function install(t: TestContext, name: "sdk" | "testing"): { readonly folder: string; readonly files: string } {
  mkdirSync(join(top, "dist"), { recursive: true });
  // inside the checkout, so that the dependencies are found without a registry
  const folder = mkdtempSync(join(top, "dist", "pack-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const tarball = run(process.execPath, [join(top, "sdk", "pack.mjs"), name, folder]).trim();
  const home = join(folder, "node_modules", "@weft", name);
  mkdirSync(home, { recursive: true });
  run("tar", ["-xzf", tarball, "-C", home, "--strip-components=1"]);
  const files = run("tar", ["-tzf", tarball]);
  assert.match(files, /package\/LICENSE/);
  assert.doesNotMatch(files, /\.test\.|\/testing\/scripted/);
  checkDependencies(home, files);
  return { folder, files };
}

/** Exactly what is imported, at the versions that are tested here. */
function checkDependencies(home: string, files: string): void {
  interface Manifest {
    readonly license: string;
    readonly dependencies: Readonly<Record<string, string>>;
    readonly peerDependencies?: Readonly<Record<string, string>>;
  }
  const read = (path: string): Manifest => JSON.parse(readFileSync(path, "utf8"));
  const [root, own] = [read(join(top, "package.json")), read(join(home, "package.json"))];
  assert.equal(own.license, "Apache-2.0");
  const needed: Record<string, string | undefined> = {};
  for (const file of files.split("\n").filter((name) => name.endsWith(".js"))) {
    const code = readFileSync(join(home, file.replace(/^package\//, "")), "utf8");
    for (const [, specifier = ""] of code.matchAll(/(?:\bfrom |\bimport[ (])"([@a-z][\w@:./-]*)"/g)) {
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      if (!specifier.startsWith("node:")) needed[name] = root.dependencies[name];
    }
  }
  const offered = { ...own.dependencies, ...own.peerDependencies };
  assert.deepEqual(sorted(offered), sorted(needed));
}

function sorted(needed: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(needed).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function run(command: string, args: readonly string[], cwd = top): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
