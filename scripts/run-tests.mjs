#!/usr/bin/env node
// Runs test files with node's own runner through tsx, and closes with "N passed, N failed, N skipped".
//   run-tests.mjs unit            *.test.ts beside the code, without root (every commit)
//   run-tests.mjs root            *.root.test.ts: real namespaces and packets
//   run-tests.mjs journey         test/**: two or more components
//   run-tests.mjs all             everything
//   run-tests.mjs PATH…           single files or folders
// Without root, the root and journey groups run again inside a user namespace; WEFT_TEST_REQUIRE_ROOT=1 (CI) makes that a failure.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
const folders = ["sdk", "registry", "nsmgr", "forwarder", "apps", "examples", "testing", "cli", "bench", "test"];

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
const isJourney = (file) => relative(top, file).startsWith("test/");
const args = process.argv.slice(2);
const group = args[0] ?? "unit";
let files;
if (["unit", "root", "journey", "all"].includes(group)) {
  files = folders.flatMap((folder) => [...testFiles(join(top, folder))]);
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
const node = [
  process.execPath,
  "--import",
  "tsx",
  "--test",
  `--test-concurrency=${needsRoot ? 1 : 2}`,
  "--test-timeout=120000",
  "--test-reporter=spec",
  "--test-reporter-destination=stdout",
  ...files,
];
const command =
  needsRoot && process.getuid() !== 0 ? ["unshare", "--user", "--map-root-user", "--net", "--mount", ...node] : node;
const child = spawn(command[0], command.slice(1), { cwd: top, stdio: ["inherit", "pipe", "inherit"] });
const counts = { pass: 0, fail: 0, cancelled: 0, skipped: 0 };
let tail = "";
child.stdout.on("data", (chunk) => {
  process.stdout.write(chunk);
  tail = (tail + chunk).slice(-20_000);
});
child.on("close", (code) => {
  for (const key of Object.keys(counts)) {
    const found = [...tail.matchAll(new RegExp(`^ℹ ${key} (\\d+)$`, "gm"))].at(-1);
    if (found) counts[key] = Number(found[1]);
  }
  console.log(`${counts.pass} passed, ${counts.fail + counts.cancelled} failed, ${counts.skipped} skipped`);
  process.exit(code ?? 1);
});
