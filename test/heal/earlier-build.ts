/** A frozen build of an earlier commit, to stand beside this one during an upgrade. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

/** The last commit of the base, before connections were moved, marked and fenced. Its transport is grpc-js, its log pino: dev dependencies. */
const commit = "2f13c1c";
const top = fileURLToPath(new URL("../..", import.meta.url));

/** Its scripts/weft.mjs, with the packages of this build; else why it cannot be had. */
export function earlierBuild(t: TestContext): { readonly program: string } | { readonly skip: string } {
  const known = spawnSync("git", ["-c", "safe.directory=*", "-C", top, "cat-file", "-e", `${commit}^{commit}`]);
  if (known.status !== 0) {
    return { skip: `commit ${commit} is not in this clone: run it in a full one (git fetch --unshallow)` };
  }
  const folder = mkdtempSync(join(tmpdir(), "wt-build-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const archive = execFileSync("git", ["-c", "safe.directory=*", "-C", top, "archive", commit], { maxBuffer: 1 << 28 });
  execFileSync("tar", ["-x", "-C", folder], { input: archive });
  symlinkSync(join(top, "node_modules"), join(folder, "node_modules"));
  return { program: join(folder, "scripts", "weft.mjs") };
}
