#!/usr/bin/env node
// Hostile memif peers against the packet core, built with AddressSanitizer and UndefinedBehaviorSanitizer.
//   npm run fuzz [-- --seconds 60] [--seed N]      the seed is printed; the same one does the same again
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
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
if (status !== 0) process.exit(status ?? 1);
// Frames by libFuzzer, which looks for new ways through the code, where clang has built it.
const guided = join(top, "dist", "native-asan", "weft-libfuzzer");
if (!existsSync(guided)) process.exit(0);
const quarter = String(Math.max(2, Math.round(Number(args[0]) / 4)));
const found = mkdtempSync(join(tmpdir(), "weft-fuzz-"));
const options = [`-max_total_time=${quarter}`, `-seed=${Number(args[1]) || 1}`, "-max_len=1604", `-artifact_prefix=${found}/`];
const second = spawnSync(guided, [...options, "-print_final_stats=1"], { encoding: "utf8", env, maxBuffer: 1 << 28 });
const done = /number_of_executed_units: (\d+)/.exec(second.stderr)?.[1] ?? "?";
if (second.status === 0) rmSync(found, { recursive: true, force: true });
else console.error(`${second.stderr.slice(-20_000)}\nfuzz: libFuzzer has found something; what it fed is in ${found}`);
console.error(`fuzz: ${done} frames by libFuzzer in ${quarter} s`);
process.exit(second.status ?? 1);
