#!/usr/bin/env node
// Runs every command of README.md (and of the pages it names as tested): each ```sh block, in order, in a shell of its own.
// A block after <!-- not run: WHY --> is shown and counted as skipped. Exits 1 at the first command that fails.
// --elsewhere COMMAND (repeatable): this block is a CI step of its own and is not run a second time here.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
const pages = ["README.md", "docs/first-network-function.md"];
const elsewhere = process.argv.flatMap((word, i, all) => (all[i - 1] === "--elsewhere" ? [word] : []));
let passed = 0;
let skipped = 0;
for (const page of pages) {
  const text = readFileSync(`${top}/${page}`, "utf8");
  for (const match of text.matchAll(/(?:<!-- not run: (.*?) -->\s*)?```sh\n([\s\S]*?)```/g)) {
    const [, why, block] = match;
    if (why !== undefined) {
      skipped++;
      console.log(`skipped (${why}):\n${block}`);
      continue;
    }
    if (elsewhere.includes(block.trim())) {
      console.log(`run as a step of its own: ${block.trim()}`);
      continue;
    }
    console.log(`$ ${block.trim().replaceAll("\n", "\n$ ")}`);
    const { status } = spawnSync("bash", ["-eu", "-o", "pipefail", "-c", block], {
      cwd: top,
      stdio: "inherit",
      timeout: 600_000,
    });
    if (status !== 0) {
      console.error(`a block of ${page} failed with ${status}`);
      console.log(`${passed} passed, 1 failed, ${skipped} skipped`);
      process.exit(1);
    }
    passed++;
  }
}
console.log(`${passed} passed, 0 failed, ${skipped} skipped`);
