#!/usr/bin/env node
// What Weft is made of, from the lock file:
//   dependencies.mjs sbom     writes sbom.cdx.json (CycloneDX 1.5) with all that is shipped: no development tools
//   dependencies.mjs check    exits 1 when the SBOM is not that of the lock file, or a licence is not on the list below
//   dependencies.mjs audit    asks the registry for known weaknesses of what is shipped; exits 1 for high and critical ones.
//                             A registry that has no such service is said, and is no failure.
// --lock FILE and --sbom FILE take the place of the repository's own. Needs no network but for audit.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const top = fileURLToPath(new URL("..", import.meta.url));
const { values, positionals } = parseArgs({
  options: { lock: { type: "string" }, sbom: { type: "string" } },
  allowPositionals: true,
});
const lockFile = values.lock ?? join(top, "package-lock.json");
const sbomFile = values.sbom ?? join(top, "sbom.cdx.json");

/** Licences that go with Apache-2.0, whatever is shipped beside it. */
const allowed = new Set([
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "ISC",
  "MIT",
  "MPL-2.0",
  "Python-2.0",
  "Unlicense",
]);

const lock = JSON.parse(readFileSync(lockFile, "utf8"));
const commands = { sbom: write, check, audit };
const run = commands[positionals[0]];
if (run === undefined) {
  console.error(`usage: dependencies.mjs ${Object.keys(commands).join("|")} [--lock FILE] [--sbom FILE]`);
  process.exit(2);
}
process.exitCode = run();

function write() {
  writeFileSync(sbomFile, textOf(sbom()));
  return 0;
}

function check() {
  const problems = [];
  for (const { path, name, version, license } of packages(() => true)) {
    if (!isAllowed(license)) problems.push(`${name}@${version} (${path}): licence ${license ?? "unknown"} is not on the list`);
  }
  const wanted = textOf(sbom());
  if (read(sbomFile) !== wanted) problems.push(`${sbomFile} is not that of the lock file: npm run sbom`);
  for (const problem of problems) console.error(problem);
  if (problems.length === 0) console.log(`${sbom().components.length} components, all licences allowed`);
  return problems.length === 0 ? 0 : 1;
}

function audit() {
  const { stdout } = spawnSync("npm", ["audit", "--omit=dev", "--json"], { cwd: top, encoding: "utf8" });
  const report = JSON.parse(stdout);
  const found = report.metadata?.vulnerabilities;
  if (found === undefined) {
    console.log(`﹣ audit # SKIP the registry does not answer (${report.message ?? report.error?.summary ?? "no reason"})`);
    return 0;
  }
  for (const { name, severity, range } of Object.values(report.vulnerabilities)) console.log(`${severity}: ${name} ${range}`);
  console.log(JSON.stringify(found));
  return found.high + found.critical === 0 ? 0 : 1;
}

/** All packages of the lock file but the repository itself, by path. */
function packages(wanted) {
  return Object.entries(lock.packages)
    .filter(([path, entry]) => path !== "" && !entry.link && wanted(entry))
    .map(([path, entry]) => ({ path, ...entry, name: entry.name ?? path.slice(path.lastIndexOf("node_modules/") + 13) }));
}

function sbom() {
  const byRef = new Map();
  for (const { name, version, license, integrity, optional } of packages(({ dev }) => !dev)) {
    const ref = `pkg:npm/${name.replace("@", "%40")}@${version}`;
    byRef.set(ref, {
      type: "library",
      "bom-ref": ref,
      name,
      version,
      purl: ref,
      ...(optional && { scope: "optional" }),
      licenses: [licenceOf(license)],
      ...(integrity && { hashes: hashesOf(integrity) }),
    });
  }
  const components = [...byRef.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
  const { name, version, license } = lock.packages[""];
  const self = `pkg:npm/${name}@${version}`;
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify(components))}`,
    version: 1,
    metadata: { component: { type: "application", "bom-ref": self, name, version, purl: self, licenses: [licenceOf(license)] } },
    components,
  };
}

/** The same content has the same number. */
function uuidOf(text) {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function licenceOf(license) {
  if (license === undefined) return { license: { name: "unknown" } };
  return /[ ()]/.test(license) ? { expression: license } : { license: { id: license } };
}

/** Of SPDX expressions, as far as packages use them: one of several choices is enough, of several parts all. */
function isAllowed(license) {
  if (license === undefined) return false;
  const plain = license.replace(/^\(|\)$/g, "");
  if (plain.includes(" OR ")) return plain.split(" OR ").some(isAllowed);
  if (plain.includes(" AND ")) return plain.split(" AND ").every(isAllowed);
  return allowed.has(plain);
}

function hashesOf(integrity) {
  return integrity.split(" ").map((one) => {
    const [algorithm, digest] = one.split(/-(.*)/s);
    return { alg: algorithm.replace("sha", "SHA-"), content: Buffer.from(digest, "base64").toString("hex") };
  });
}

function textOf(bom) {
  return `${JSON.stringify(bom, null, 1)}\n`;
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
