#!/usr/bin/env node
// Runs test files with node's own runner through tsx, and closes with "N passed, N failed, N skipped".
//   run-tests.mjs unit            *.test.ts beside the code, without root (every commit)
//   run-tests.mjs root            *.root.test.ts: real namespaces and packets
//   run-tests.mjs journey         test/**: two or more components
//   run-tests.mjs kubernetes      test/kubernetes: a real API server, a real cluster
//   run-tests.mjs all             everything but kubernetes
//   run-tests.mjs PATH…           single files or folders
// All but the unit group run in a place of their own (test-place.sh): processes, network namespaces and temporary files
// that a test leaves behind are told, count as a failure, and do not outlive the run, even one that is cut off.
// Without root that place is a user namespace; WEFT_TEST_REQUIRE_ROOT=1 (CI) makes that a failure.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
const folders = [
  "sdk",
  "registry",
  "nsmgr",
  "forwarder",
  "node",
  "webhook",
  "apps",
  "examples",
  "testing",
  "cli",
  "bench",
  "test",
];

function* testFiles(path) {
  if (!existsSync(path)) return;
  if (statSync(path).isFile()) {
    if (path.endsWith(".test.ts")) yield path;
    return;
  }
  for (const entry of readdirSync(path).sort()) {
    if (entry !== "node_modules" && entry !== "dist") yield* testFiles(join(path, entry));
  }
}

const isRoot = (file) => file.endsWith(".root.test.ts");
const isKubernetes = (file) => relative(top, file).startsWith("test/kubernetes/");
const isJourney = (file) => relative(top, file).startsWith("test/");
const args = process.argv.slice(2);
const group = args[0] ?? "unit";
let files;
if (["unit", "root", "journey", "kubernetes", "all"].includes(group)) {
  files = folders.flatMap((folder) => [...testFiles(join(top, folder))]);
  files = files.filter((file) => isKubernetes(file) === (group === "kubernetes"));
  if (group === "unit") files = files.filter((file) => !isRoot(file) && !isJourney(file));
  if (group === "root") files = files.filter((file) => isRoot(file) && !isJourney(file));
  if (group === "journey") files = files.filter(isJourney);
} else {
  files = args.flatMap((path) => [...testFiles(join(process.cwd(), path))]);
}
if (files.length === 0) {
  console.error("no test file matches");
  process.exit(1);
}

const needsRoot = group !== "unit";
if (needsRoot && process.getuid() !== 0 && process.env.WEFT_TEST_REQUIRE_ROOT === "1") {
  console.error("these tests need root, and WEFT_TEST_REQUIRE_ROOT=1 forbids to go on without");
  process.exit(1);
}
// For one file as well as for one test. Generous: on a busy machine, and what is cut off cannot say what it waited for.
const timeoutMs = group === "kubernetes" || files.some(isKubernetes) ? 1_500_000 : 300_000;
/** More failures than this are no accident. */
const maxFilesAgain = 8;
const first = await run(files);
let { passed, failed, skipped, code } = first;
const again = [...new Set(first.failedFiles.flatMap(testFilesOf))];
if (failed > 0 && again.length > 0 && again.length <= maxFilesAgain) {
  // A test that waits for real processes can lose to a busy machine. It gets one more try, alone, and that is told.
  const names = again.map((file) => relative(top, file));
  console.log(`\nonce more, because a test in it failed: ${names.join(", ")}\n`);
  const second = await run(again);
  for (const name of names) console.log(`needed a second run: ${name}`);
  passed += failed - second.failed;
  failed = second.failed;
  code = second.code;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(code);

/** Runs files in a place of their own and tells what came of it. */
async function run(chosen) {
  const temporary = makeTemporary();
  const report = `${temporary}-failed`;
  const node = [
    process.execPath,
    "--import",
    "tsx",
    "--test",
    `--test-concurrency=${needsRoot ? 1 : 2}`,
    `--test-timeout=${timeoutMs}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    `--test-reporter=${new URL("failed-files.mjs", import.meta.url).href}`,
    `--test-reporter-destination=${report}`,
    ...chosen,
  ];
  const ownNetwork = chosen.some(isKubernetes);
  const command = needsRoot ? [...placeOf(process.getuid() === 0, ownNetwork), ...node] : node;
  const env = { ...process.env, TMPDIR: temporary, ...(ownNetwork && { WEFT_TEST_OWN_NETWORK: "1" }) };
  const child = spawn(command[0], command.slice(1), { cwd: top, env, stdio: ["inherit", "pipe", "inherit"] });
  const cut = () => child.kill("SIGKILL");
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, cut);
  const counts = { pass: 0, fail: 0, cancelled: 0, skipped: 0 };
  let tail = "";
  child.stdout.on("data", (chunk) => {
    process.stdout.write(chunk);
    tail = (tail + chunk).slice(-20_000);
  });
  const [code] = await once(child, "close");
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(signal, cut);
  for (const key of Object.keys(counts)) {
    const found = [...tail.matchAll(new RegExp(`^ℹ ${key} (\\d+)$`, "gm"))].at(-1);
    if (found) counts[key] = Number(found[1]);
  }
  const left = removeTemporary(temporary);
  if (left.length > 0) console.log(`left behind by the tests in ${temporary}: ${left.join(", ")}`);
  const failedFiles = existsSync(report)
    ? readFileSync(report, "utf8")
        .split("\n")
        .filter((line) => line !== "")
    : [];
  rmSync(report, { force: true });
  return {
    passed: counts.pass,
    failed: counts.fail + counts.cancelled,
    skipped: counts.skipped,
    code: code === 0 && left.length > 0 ? 1 : (code ?? 1),
    failedFiles,
  };
}

/** A test that a shared suite has defined is told under the suite's file: what is run again is who imports it. */
function testFilesOf(file) {
  if (files.includes(file)) return [file];
  const imported = `/${basename(file, ".ts")}.js"`;
  return files.filter((test) => readFileSync(test, "utf8").includes(imported));
}

/** How to start a command in a place of its own, as far as this machine allows it. */
function placeOf(root, ownNetwork) {
  // the test's cluster has a bridge and fixed addresses
  const user = root ? (ownNetwork ? ["--net"] : []) : ["--user", "--map-root-user", "--net"];
  const whole = ["unshare", ...user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  if (spawnSync(whole[0], [...whole.slice(1), "true"], { stdio: "ignore" }).status === 0) {
    return [...whole, join(top, "scripts", "test-place.sh")];
  }
  console.log("tests run without a place of their own (unshare --pid is not permitted): what they leave behind goes unnoticed");
  return root ? [] : ["unshare", ...user, "--mount"];
}

/** A short name, because the path of a socket has 107 bytes at most; with the compiled sources that tsx keeps in the usual folder. */
function makeTemporary() {
  const folder = mkdtempSync(join(tmpdir(), "wt"));
  chmodSync(folder, 0o1777); // some tests become another user
  const compiled = `tsx-${process.getuid()}`;
  if (existsSync(join(tmpdir(), compiled))) symlinkSync(join(tmpdir(), compiled), join(folder, compiled));
  return folder;
}

/** @returns what was in it that is of the tests */
function removeTemporary(temporary) {
  const left = readdirSync(temporary).filter((name) => !/^tsx-|^node-compile-cache$/.test(name));
  rmSync(temporary, { recursive: true, force: true });
  return left;
}
