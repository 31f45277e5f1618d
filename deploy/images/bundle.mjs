#!/usr/bin/env node
// Bundles the code of one image: bundle.mjs IMAGE FOLDER [CPU]. What comes out runs with `node FOLDER/main.mjs`.
// Everything is in a few files but what has native code (koffi, lmdb), which is copied without what only a build needs.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { imageOf } from "./images.mjs";

const top = fileURLToPath(new URL("../..", import.meta.url));
const native = ["koffi"];
/** lmdb's own code is bundled; of its packages only the one with native code is copied, and it is loaded without a search. */
const lmdbNative = {
  name: "lmdb-native",
  setup(build) {
    build.onResolve({ filter: /^node-gyp-build-optional-packages$/ }, () => ({ path: "lmdb-native", namespace: "weft" }));
    build.onLoad({ filter: /./, namespace: "weft" }, () => ({
      contents: `import { createRequire } from "node:module";
export default () => createRequire(import.meta.url)(\`@lmdb/lmdb-linux-\${process.arch}/node.napi.glibc.node\`);`,
    }));
  },
};
// packages in CommonJS ask for node's own modules
const requireBanner = 'import { createRequire as weftRequire } from "node:module"; const require = weftRequire(import.meta.url);';

/**
 * @param image   one of images.mjs
 * @param folder  is emptied first
 * @param cpu     whose native packages are taken, in node's words ("x64", "arm64")
 */
export async function bundle(image, folder, cpu = process.arch) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { metafile } = await build({
    entryPoints: [
      { in: `start:${image.entry}`, out: "main" },
      ...Object.entries(image.tools ?? {}).map(([name, entry]) => ({ in: `start:${entry}`, out: name })),
    ],
    outdir: folder,
    chunkNames: "[hash]",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: true,
    legalComments: "none",
    external: native,
    plugins: [starts, lmdbNative],
    metafile: true,
    absWorkingDir: top,
    logLevel: "warning",
    banner: { js: requireBanner },
  });
  for (const path of Object.keys(metafile.outputs)) leanText(join(top, path));
  const used = new Set(
    Object.values(metafile.outputs).flatMap(({ imports }) => imports.filter(({ external }) => external).map(({ path }) => path)),
  );
  for (const name of native) if (used.has(name)) copyClosure(name, folder, cpu, new Set());
  const withLmdb = Object.values(metafile.outputs).some(({ inputs }) => "weft:lmdb-native" in inputs);
  if (withLmdb) copyClosure(`@lmdb/lmdb-linux-${cpu}`, folder, cpu, new Set());
  if (image.core && cpu === process.arch) copyCore(folder);
  const { name, version, license } = JSON.parse(readFileSync(join(top, "package.json"), "utf8"));
  writeFileSync(join(folder, "package.json"), `${JSON.stringify({ name, version, license, type: "module" })}\n`);
}

/**
 * Takes away what costs memory at run time: a `require` in parts that never ask for it, and any letter beyond Latin-1, for
 * which the runtime would hold the whole text in two bytes a letter.
 */
function leanText(path) {
  const text = readFileSync(path, "utf8");
  const own = text.replace(`${requireBanner}\n`, "");
  const lean = /\brequire\b/.test(own) ? text : own;
  const wide = /[\u0100-\uffff]/.exec(lean);
  if (wide !== null)
    throw new Error(`write "${wide[0]}" as an escape: ${lean.slice(Math.max(0, wide.index - 60), wide.index + 20)}`);
  if (lean !== text) writeFileSync(path, lean);
}

/** What build-native.mjs has made here; without a compiler nothing: then the kernel alone moves packets. */
function copyCore(folder) {
  const from = join(top, "dist", "native");
  const to = join(folder, "dist", "native");
  for (const name of ["weft-fast", "libweft_fast.so"]) {
    if (!existsSync(join(from, name))) return;
    mkdirSync(to, { recursive: true });
    cpSync(join(from, name), join(to, name));
  }
}

/** `start:PATH` is the first module of a program whose code is in PATH. */
const starts = {
  name: "starts",
  setup(build) {
    build.onResolve({ filter: /^start:/ }, ({ path }) => ({ path: path.slice("start:".length), namespace: "start" }));
    build.onLoad({ filter: /.*/, namespace: "start" }, ({ path }) => ({
      contents: startOf(path),
      resolveDir: top,
      loader: "ts",
    }));
  },
};

/** Signals become an AbortSignal, the exit code is what `run` says. */
function startOf(entry) {
  if (entry === "cli/main.ts") {
    return `import { main } from "./cli/main.ts";
process.exitCode = await main({ argv: process.argv.slice(2), env: process.env, self: process.argv.slice(0, 2) });`;
  }
  return `import { run } from "./${entry}";
const stop = new AbortController();
const abort = () => stop.abort();
for (const name of ["SIGINT", "SIGTERM"]) process.once(name, abort);
process.exitCode = await run({ argv: process.argv.slice(2), env: process.env, signal: stop.signal });
for (const name of ["SIGINT", "SIGTERM"]) process.off(name, abort);`;
}

/** A package and what it needs at run time, flat in node_modules. */
function copyClosure(name, folder, cpu, done) {
  const from = join(top, "node_modules", name);
  if (done.has(name) || !existsSync(from)) return; // an optional one of another platform
  done.add(name);
  const {
    dependencies = {},
    optionalDependencies = {},
    os,
    cpu: cpus,
  } = JSON.parse(readFileSync(join(from, "package.json"), "utf8"));
  if (os !== undefined && !os.includes("linux")) return;
  if (cpus !== undefined && !cpus.includes(cpu)) return;
  cpSync(from, join(folder, "node_modules", name), { recursive: true, filter: (path) => isNeeded(relative(from, path), path) });
  for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) {
    if (next !== "node-addon-api") copyClosure(next, folder, cpu, done);
  }
}

const onlyForBuilds =
  /(^|\/)(\.[^/]+|node_modules|assets|doc|docs|test|tests|vendor|dependencies|dist\/test[^/]*)$|\.(md|map|c|cc|cpp|h|hh|hpp|gyp|ts|cts|inc)$|\.musl\.node$|(^|\/)musl_|\.abi\d+\./;

function isNeeded(inside, path) {
  if (inside === "") return true;
  if (onlyForBuilds.test(inside)) return /(^|\/)LICEN[CS]E/i.test(basename(path));
  return !statSync(path).isDirectory() || readdirSync(path).length > 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, folder, cpu] = process.argv.slice(2);
  if (name === undefined || folder === undefined) throw new Error("bundle.mjs IMAGE FOLDER [CPU]");
  await bundle(imageOf(name), folder, { amd64: "x64" }[cpu] ?? cpu ?? process.arch);
}
