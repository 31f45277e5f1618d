/** What `weft init` makes is what a newcomer builds on: it installs, compiles, and its own tests pass. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const weft = fileURLToPath(new URL("../../scripts/weft.mjs", import.meta.url));
const offline =
  spawnSync("npm", ["ping"], { encoding: "utf8", timeout: 20_000 }).status === 0
    ? false
    : "the registry of npm does not answer (`npm ping`): the packages of a new project cannot be installed";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-init-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("a new endpoint, client and firewall: each compiles and passes its own test", { skip: offline }, () => {
  for (const kind of ["endpoint", "client", "firewall"]) {
    const { status, stdout, stderr } = run(process.execPath, [weft, "init", kind, `my-${kind}`]);
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`${kind} my-${kind} for service hello`));
    const project = join(folder, `my-${kind}`);
    // the three need the same packages
    const first = join(folder, "my-endpoint", "node_modules");
    if (kind === "endpoint") must("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"], project);
    else symlinkSync(first, join(project, "node_modules"));
    assert.match(must("npm", ["test"], project), /^ℹ fail 0$|^# fail 0$/m);
    assert.ok(existsSync(join(project, "dist", "main.js")));
  }
});

test("a folder that holds something stays as it is; wrong kinds and names are told what to use", () => {
  writeFileSync(join(folder, "note"), "mine");
  const cases: [string[], RegExp][] = [
    [["endpoint", "x", "--dir", "."], /is not empty/],
    [["router", "x"], /"router" cannot be made; there are endpoint, client, firewall/],
    [["endpoint", "X y"], /the name "X y" cannot be used/],
    [["client", "x", "--service", "../etc"], /the service "\.\.\/etc" cannot be used/],
  ];
  for (const [args, wanted] of cases) {
    const { status, stderr } = run(process.execPath, [weft, "init", ...args]);
    assert.equal(status, 1, stderr);
    assert.match(stderr, wanted);
  }
  assert.equal(readFileSync(join(folder, "note"), "utf8"), "mine");
});

test("bash completes commands, options and values", () => {
  const complete = (...words: string[]): string[] => {
    const line = `source <(${process.execPath} ${weft} completion bash); COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")})
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _weft; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return must("bash", ["-c", line], folder).trim().split("\n");
  };
  assert.deepEqual(complete("weft", "dem"), ["demo"]);
  assert.deepEqual(complete("weft", "get", "e"), ["endpoints"]);
  assert.ok(complete("weft", "connect", "hello", "--n").includes("--node"));
  assert.deepEqual(complete("weft", "init", ""), ["endpoint", "client", "firewall"]);
});

function run(command: string, args: readonly string[], cwd = folder) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawnSync(command, args, { cwd, env, encoding: "utf8", timeout: 240_000 });
}

function must(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = run(command, args, cwd);
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
