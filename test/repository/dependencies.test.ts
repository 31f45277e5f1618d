import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../sdk/testing/test-server.js";

const top = process.cwd();
const script = join(top, "scripts", "dependencies.mjs");

test("the bill of materials names every package that is shipped, with version, licence and hash, and no development tool", (t) => {
  const { sbom, lock } = start(t);
  const shipped = Object.entries(lock.packages).filter(([path, { dev, link }]) => path !== "" && !dev && !link);
  const purls = new Set(sbom.components.map(({ purl }) => purl));
  for (const [path, { version }] of shipped) {
    const name = path.slice(path.lastIndexOf("node_modules/") + 13);
    assert.ok(purls.has(`pkg:npm/${name.replace("@", "%40")}@${version}`), path);
  }
  // of an optional package for another platform the lock file may have no hash
  assert.ok(sbom.components.every(({ scope, licenses, hashes }) => licenses.length === 1 && (scope !== undefined || hashes)));
  assert.ok(!sbom.components.some(({ name }) => name === "typescript"));
  assert.deepEqual([sbom.bomFormat, sbom.specVersion], ["CycloneDX", "1.5"]);
});

test("the check fails for another lock file, and for a licence that is not on the list", (t) => {
  const { folder, lock, run } = start(t);
  assert.equal(run("check").status, 0, run("check").stderr);
  const [path = ""] = Object.keys(lock.packages).filter((key) => key.includes("koffi"));
  const change = (more: object): void => {
    const packages = { ...lock.packages, [path]: { ...lock.packages[path], ...more } };
    writeFileSync(join(folder, "lock.json"), JSON.stringify({ ...lock, packages }));
  };
  change({ version: "0.0.0" });
  assert.match(run("check").stderr, /npm run sbom/);
  change({ license: "GPL-3.0-only" });
  assert.match(run("check").stderr, /koffi.*GPL-3.0-only is not on the list/);
  change({ license: undefined });
  assert.equal(run("check").status, 1);
});

interface Lock {
  readonly packages: Readonly<Record<string, { version?: string; license?: string; dev?: boolean; link?: boolean }>>;
}
interface Sbom {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly components: readonly { name: string; purl: string; scope?: string; licenses: unknown[]; hashes?: unknown[] }[];
}

/** The repository's lock file and its bill, in a folder where they may be changed. */
function start(t: TestContext) {
  const folder = temporaryFolder(t);
  const lock = JSON.parse(readFileSync(join(top, "package-lock.json"), "utf8")) as Lock;
  writeFileSync(join(folder, "lock.json"), JSON.stringify(lock));
  const run = (command: string) =>
    spawnSync(process.execPath, [script, command, "--lock", join(folder, "lock.json"), "--sbom", join(folder, "sbom.json")], {
      encoding: "utf8",
    });
  assert.equal(run("sbom").status, 0);
  return { folder, lock, run, sbom: JSON.parse(readFileSync(join(folder, "sbom.json"), "utf8")) as Sbom };
}
