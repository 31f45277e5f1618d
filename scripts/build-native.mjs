#!/usr/bin/env node
// Builds the packet core (forwarder/native, C11, no dependency) into dist/native: libweft_fast.so and the program weft-fast.
//   build-native.mjs            if a source is newer than what is there
// Where pkg-config knows libdpdk, libweft_dpdk.so is built as well: devices of DPDK, which the worker loads when it is asked for one.
//   build-native.mjs --asan     into dist/native-asan, with AddressSanitizer and UndefinedBehaviorSanitizer, and weft-fuzz
// Without a compiler it says so and exits 0: the kernel data plane needs none. --required makes that an error.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
const source = join(top, "forwarder", "native");
const flags = new Set(process.argv.slice(2));
const variant = flags.has("--asan") ? "-asan" : "";
const out = join(top, "dist", `native${variant}`);
const say = (text) => process.stderr.write(`native: ${text}\n`);

/** What the program has and the library has not. */
const programOnly = ["keeper.c", "main.c", "measure.c", "tools.c"];
const fuzzOnly = /^fuzz/;

const files = readdirSync(source).filter((name) => /\.[ch]$/.test(name));
/** A library of its own, for the worker to load. */
const driver = "dpdk.c";
const sources = files.filter((name) => name.endsWith(".c") && !fuzzOnly.test(name) && name !== driver);
const dpdk = ["--cflags", "--libs"].map((what) => spawnSync("pkg-config", [what, "libdpdk"], { encoding: "utf8" }));
const hasDpdk = dpdk.every(({ status }) => status === 0);
const newest = Math.max(...files.map((name) => statSync(join(source, name)).mtimeMs));
const names = ["libweft_fast.so", "weft-fast", ...(variant === "-asan" ? ["weft-fuzz"] : [])];
const driverTarget = join(out, "libweft_dpdk.so");
const targets = names.map((name) => join(out, name));
const wanted = hasDpdk ? [...targets, driverTarget] : targets;
if (wanted.every((target) => existsSync(target) && statSync(target).mtimeMs > newest)) process.exit(0);

const compiler = [process.env.CC, "cc", "gcc", "clang"].find((name) => name && spawnSync(name, ["--version"]).status === 0);
if (compiler === undefined)
  leave(
    "no C compiler: the data plane `fast` (memif) is not available; apt-get install gcc libc6-dev, then npm run build:native",
  );
mkdirSync(out, { recursive: true });
say(`building the packet core into ${out}`);
const common = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-fPIC", "-fno-strict-aliasing", "-pthread"];
const kind =
  variant === "-asan"
    ? ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    : ["-O3"];
compile(
  targets[0],
  sources.filter((name) => !programOnly.includes(name)),
  ["-shared", "-Wl,-z,nodelete"],
);
compile(targets[1], sources, []);
if (hasDpdk) {
  const [cflags = [], libs = []] = dpdk.map(({ stdout }) => stdout.trim().split(/\s+/));
  compile(driverTarget, [driver], [...cflags, "-DALLOW_EXPERIMENTAL_API", "-shared", "-Wl,-z,nodelete"], libs);
} else say("without DPDK (apt-get install libdpdk-dev pkg-config gives its ports)");
if (targets[2] !== undefined) {
  const library = sources.filter((name) => !programOnly.includes(name));
  compile(targets[2], [...library, "fuzz.c", "fuzz-frames.c"], []);
  // libFuzzer is clang's; where it is missing, weft-fuzz is all there is.
  const names = [...library, "fuzz-frames.c"].map((name) => join(source, name));
  const how = ["-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined", "-DWEFT_LIBFUZZER"];
  const made = spawnSync("clang", [...common, ...how, "-o", join(out, "weft-libfuzzer"), ...names], { stdio: "ignore" });
  if (made.status !== 0) say("without libFuzzer (apt-get install clang libclang-rt-dev gives it): weft-fuzz alone");
}

function compile(target, names, extra, libraries = []) {
  const part = `${target}.${process.pid}`;
  const paths = names.map((name) => join(source, name));
  const { status } = spawnSync(compiler, [...common, ...kind, ...extra, "-o", part, ...paths, ...libraries], {
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) leave(`${compiler} failed: the data plane \`fast\` (memif) is not available`);
  renameSync(part, target);
}

function leave(text) {
  say(text);
  process.exit(flags.has("--required") ? 1 : 0);
}
