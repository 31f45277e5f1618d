#!/usr/bin/env node
// Makes a checkout runnable: installs packages if they are missing or stale, builds if dist is stale, and says in one
// line each what this machine lacks and how to get it. Everything goes to standard error; exits 1 if it cannot go on.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { staleFolder, stalePackages } from "./freshness.mjs";

const top = fileURLToPath(new URL("..", import.meta.url));
const say = (text) => process.stderr.write(`setup: ${text}\n`);
const fail = (text) => {
  say(text);
  process.exit(1);
};

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (process.platform !== "linux") fail(`Weft needs Linux (network namespaces); this is ${process.platform}`);
if (major < 20 || (major === 20 && minor < 11)) {
  fail(`Node ${process.versions.node} is too old; install Node 20.11 or newer from https://nodejs.org or your distribution`);
}

const whyInstall = stalePackages(top);
if (whyInstall !== undefined) {
  say(`${whyInstall}: npm ci`);
  const { status } = run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  if (status !== 0) fail("npm ci failed; is the package registry reachable (npm ping) and the checkout writable?");
}

const stale = staleFolder(top);
if (stale !== undefined) {
  if (!writable(existsSync(join(top, "dist")) ? join(top, "dist") : top)) {
    say(`dist/${stale} is stale and may not be written by this user: the sources will be run, which starts more slowly`);
  } else {
    say(`dist/${stale} is stale: tsc -b cli`);
    // cli refers to all that the command weft consists of
    run(process.execPath, [join(top, "node_modules", "typescript", "bin", "tsc"), "-b", "cli"]);
    if (staleFolder(top) !== undefined) say("the build failed (above); the sources will be run through tsx instead");
  }
}

// The packet core is optional: without a compiler this says so and goes on.
if (writable(existsSync(join(top, "dist")) ? join(top, "dist") : top))
  run(process.execPath, [join(top, "scripts", "build-native.mjs")]);

if (process.getuid() !== 0) {
  const { status } = spawnSync("unshare", ["--user", "--map-root-user", "--net", "--mount", "true"], { stdio: "ignore" });
  if (status !== 0) say(`no root and no user namespaces: ${userNamespaceRemedy()}`);
}
if (!inPath("nft"))
  say(
    "nft is missing: the firewall cannot filter, and names of endpoints do not resolve; install it with `apt-get install nftables` (or dnf, apk)",
  );

function run(command, args) {
  // their output is progress, and standard output belongs to the command that follows
  return spawnSync(command, args, { cwd: top, stdio: ["ignore", 2, 2] });
}

function writable(path) {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function inPath(name) {
  const folders = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`.split(":");
  return folders.some((folder) => folder !== "" && existsSync(join(folder, name)));
}

function userNamespaceRemedy() {
  const read = (path) => (existsSync(path) ? readFileSync(path, "utf8").trim() : undefined);
  if (read("/proc/sys/kernel/unprivileged_userns_clone") === "0")
    return "run `sudo sysctl kernel.unprivileged_userns_clone=1`, or use sudo";
  if (read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") === "1") {
    return "run `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or use sudo";
  }
  if (read("/proc/sys/user/max_user_namespaces") === "0") return "run `sudo sysctl user.max_user_namespaces=10000`, or use sudo";
  return "run it with sudo (inside a container: give it CAP_SYS_ADMIN and CAP_NET_ADMIN)";
}
