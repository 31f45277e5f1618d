/** Runs the `nft` program (nftables) with a script on its standard input; no shell, no arguments but options. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, statusError } from "../sdk/status.js";

/**
 * Applies a script as one transaction and gives what nft printed.
 * @throws FAILED_PRECONDITION nft is missing or may not be used here, with the remedy; INTERNAL the script was refused
 */
export type Nft = (script: string, options?: { readonly json?: boolean }) => Promise<string>;

/** How to start the program with that descriptor as standard input; inside another namespace, for example. */
export type Start = (command: string, args: readonly string[], options: { stdio: [number, "pipe", "pipe"] }) => ChildProcess;

/** A script that takes longer than that has got stuck, in milliseconds. */
const timeoutMs = 30_000;
const shownErrors = 5;

/** @param how.asArgument  for short scripts where no temporary file can be made */
export function createNft(start: Start = spawn, how: { readonly asArgument?: boolean } = {}): Nft {
  return async (script, { json = false } = {}) => {
    if (how.asArgument === true) {
      const nothing = openSync("/dev/null", "r");
      try {
        return await finished(start("nft", [...(json ? ["--json"] : []), "--", script], { stdio: [nothing, "pipe", "pipe"] }));
      } finally {
        closeSync(nothing);
      }
    }
    const input = scriptFile(script);
    try {
      return await finished(start("nft", json ? ["--json", "--file", "-"] : ["--file", "-"], { stdio: [input, "pipe", "pipe"] }));
    } finally {
      closeSync(input);
    }
  };
}

/** A file without a name: nft opens /dev/stdin, which fails for the socket that a piped stdin is in Node. */
function scriptFile(script: string): number {
  const path = join(tmpdir(), `weft-nft-${randomUUID()}`);
  const fd = openSync(path, "wx+", 0o600);
  try {
    unlinkSync(path);
    const bytes = Buffer.from(script);
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written, bytes.length - written, written);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function finished(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    let output = "";
    let errors = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    child.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(cannotStart(error));
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(output);
      else reject(refused(errors, code, signal));
    });
  });
}

function cannotStart(error: NodeJS.ErrnoException): Error {
  const text =
    error.code === "ENOENT"
      ? "the program nft is missing; install it: apt-get install nftables (Debian, Ubuntu), apk add nftables (Alpine), dnf install nftables (Fedora)"
      : `nft cannot be started: ${error.message}`;
  return statusError(Code.FAILED_PRECONDITION, text, error);
}

function refused(errors: string, code: number | null, signal: NodeJS.Signals | null): Error {
  const said = errors.split("\n").filter((line) => /Error|error|not permitted/.test(line));
  const text = said.slice(0, shownErrors).join("; ") || errors.trim().slice(0, 500);
  if (/not permitted/.test(errors)) {
    return statusError(Code.FAILED_PRECONDITION, `nft needs the capability NET_ADMIN in this network namespace: ${text}`);
  }
  return statusError(Code.INTERNAL, `nft ended with ${signal ?? `status ${code}`}: ${text}`);
}
