/** Rego text → WebAssembly, by the `opa` command. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";

const timeoutMs = 60_000;
const blockBytes = 512;

/**
 * @param file  path of the .rego file; its package must define the boolean `valid`
 * @throws Error with what opa says, or why it cannot be asked
 */
export async function compileRego(opa: string, file: string): Promise<Uint8Array> {
  const found = /^\s*package\s+([A-Za-z_][\w.]*)\s*(?:#.*)?$/m.exec(await readFile(file, "utf8"))?.[1];
  if (found === undefined) throw new Error("it has no package");
  const folder = await mkdtemp(join(tmpdir(), "weft-policy-"));
  try {
    const bundle = join(folder, "bundle.tar.gz");
    const args = ["build", "--target", "wasm", "--entrypoint", `${found.replaceAll(".", "/")}/valid`, "--output", bundle, file];
    await runOpa(opa, args);
    return fileOfTar(await promisify(gunzip)(await readFile(bundle)), "policy.wasm");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** NSM's own policies are written in the older form of Rego, so that is tried too. */
async function runOpa(opa: string, [command = "", ...rest]: readonly string[]): Promise<void> {
  const run = promisify(execFile);
  try {
    await run(opa, [command, ...rest], { timeout: timeoutMs });
  } catch (error) {
    try {
      await run(opa, [command, "--v0-compatible", ...rest], { timeout: timeoutMs });
    } catch {
      // opa tells of errors in the text on its standard output
      const { stderr = "", stdout = "" } = error as { stderr?: string; stdout?: string };
      throw new Error((stderr + stdout).trim() || String(error));
    }
  }
}

/** One file of a tar archive (POSIX.1 ustar: 512-byte headers; name at 0, size in octal at 124). */
function fileOfTar(tar: Buffer, wanted: string): Uint8Array {
  for (let offset = 0; offset + blockBytes <= tar.length; ) {
    const name = tar
      .subarray(offset, offset + 100)
      .toString("latin1")
      .replace(/\0.*$/s, "");
    const bytes = Number.parseInt(tar.subarray(offset + 124, offset + 136).toString("latin1"), 8) || 0;
    const start = offset + blockBytes;
    if (name.replace(/^\//, "") === wanted) return tar.subarray(start, start + bytes);
    offset = start + Math.ceil(bytes / blockBytes) * blockBytes;
  }
  throw new Error(`opa made no ${wanted}`);
}
