#!/usr/bin/env node
// Hostile memif peers against the packet core, built with AddressSanitizer and UndefinedBehaviorSanitizer.
//   npm run fuzz [-- --seconds 60] [--seed N]      the seed is printed; the same one does the same again
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const built = spawnSync(process.execPath, [join(top, "scripts", "build-native.mjs"), "--asan", "--required"], {
  stdio: "inherit",
});
if (built.status !== 0) process.exit(1);
const args = [option("seconds", "60"), option("seed", String(Date.now() % 1_000_000))];
console.error(`fuzz: ${args[0]} s with seed ${args[1]}`);
const env = { ...process.env, ASAN_OPTIONS: "detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS: "print_stacktrace=1" };
const { status, signal } = spawnSync(join(top, "dist", "native-asan", "weft-fuzz"), args, { stdio: "inherit", env });
if (signal !== null) console.error(`fuzz: ended by ${signal}`);
process.exit(status ?? 1);
