/**
 * What somebody has who types `npm install @weft/sdk` in an empty folder: types that hold under the strictest settings,
 * examples that run against a mesh, and few packages. The tarball stands in for the published package.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startDomain } from "./start-domain.js";

const top = fileURLToPath(new URL("..", import.meta.url));
const compiler = join(top, "node_modules", "typescript", "bin", "tsc");
const offline =
  spawnSync("npm", ["ping"], { encoding: "utf8", timeout: 20_000 }).status === 0
    ? false
    : "the registry of npm does not answer (`npm ping`): the packages that the SDK needs cannot be installed";

/** Packages in all, the SDK itself among them, and their size on disk. */
const mostPackages = 20;
const mostBytes = 30e6;

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-install-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("@weft/sdk is packed as tools for packages demand", () => {
  const tarball = pack();
  run(process.execPath, [join(top, "node_modules", "publint", "src", "cli.js"), "run", tarball, "--strict"], top);
  const attw = join(top, "node_modules", "@arethetypeswrong", "cli", "dist", "index.js");
  run(process.execPath, [attw, tarball, "--profile", "esm-only", "--no-emoji"], top);
});

test("@weft/sdk in an empty project: few packages, strict types, and the examples run", { skip: offline }, async (t) => {
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", pack()]);
  const packages = packagesIn(join(folder, "node_modules"));
  const bytes = sizeOf(join(folder, "node_modules"));
  t.diagnostic(`${packages.length} packages, ${(bytes / 1e6).toFixed(1)} MB: ${packages.join(" ")}`);
  assert.ok(packages.length <= mostPackages, packages.join(" "));
  assert.ok(bytes <= mostBytes, `${bytes} bytes`);

  run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--save-dev", `@types/node@${typesVersion()}`]);
  for (const name of ["client.ts", "endpoint.ts"]) {
    const source = readFileSync(join(top, "examples", name), "utf8").replace("../sdk/entry.js", "@weft/sdk");
    writeFileSync(join(folder, name), source);
  }
  const strictest = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--skipLibCheck", "false"];
  const how = ["--module", "nodenext", "--target", "es2023", "--lib", "es2023,esnext.disposable", "--types", "node"];
  run(process.execPath, [compiler, ...strictest, ...how, "client.ts", "endpoint.ts"]);

  await using domain = await startDomain({ nodes: 1 });
  const { url } = domain.nodes[0];
  const endpoint = start(["endpoint.js", "hello", url]);
  t.after(() => endpoint.kill("SIGKILL"));
  await line(endpoint, /serves hello/);
  const client = start(["client.js", "kernel://hello", url]);
  t.after(() => client.kill("SIGKILL"));
  assert.match(await line(client, /connected: /), /172\.16\.1\./);
  for (const program of [client, endpoint]) {
    const ended = once(program, "close");
    program.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
  }
});

let packed: string | undefined;
function pack(): string {
  mkdirSync(join(folder, "tarball"), { recursive: true });
  packed ??= run(process.execPath, [join(top, "sdk", "pack.mjs"), "sdk", join(folder, "tarball")], top).trim();
  return packed;
}

function typesVersion(): string {
  const { devDependencies } = JSON.parse(readFileSync(join(top, "package.json"), "utf8")) as {
    devDependencies: Record<string, string>;
  };
  return devDependencies["@types/node"] ?? "";
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
}

async function line(program: ChildProcess, wanted: RegExp): Promise<string> {
  assert.ok(program.stdout !== null);
  for await (const text of createInterface({ input: program.stdout })) if (wanted.test(text)) return text;
  throw new Error(`the program ended without ${wanted}`);
}

function packagesIn(modules: string): string[] {
  return readdirSync(modules, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .flatMap(({ name }) => (name.startsWith("@") ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`) : [name]));
}

function sizeOf(path: string): number {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stat.size;
}

function run(command: string, args: readonly string[], cwd = folder): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 240_000 });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
