/**
 * npm run bench [-- NAME…] [--quick | --short] [--json]
 * Runs the benches, prints their tables, writes bench/results/latest.json and docs/performance.md.
 * Exits 1 when a gate is missed.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { arch, cpus, release } from "node:os";
import { parseArgs } from "node:util";
import { bench as controlPlane } from "./control-plane.js";
import { bench as dns } from "./dns.js";
import { bench as fastpath } from "./fastpath.js";
import { bench as kernel } from "./kernel.js";
import { bench as throughput } from "./kernel-throughput.js";
import { bench as live } from "./live.js";
import { joinedBench, remoteBench } from "./node.js";
import { bench as registry } from "./registry.js";
import { regressions } from "./regressions.js";
import { benches as scale } from "./scale.js";
import { bench as secure } from "./secure.js";
import { type Bench, type BenchTable, gateMet, renderTable } from "./table.js";

const benches: readonly Bench[] = [
  controlPlane,
  joinedBench,
  remoteBench,
  secure,
  live,
  registry,
  ...scale,
  kernel,
  throughput,
  fastpath,
  dns,
];
const resultsUrl = new URL("results/latest.json", import.meta.url);
const performanceUrl = new URL("../docs/performance.md", import.meta.url);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    /** The same by another name. */
    short: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const quick = values.quick || values.short;
/** A name, or what comes before a dash: scale = scale-connections, scale-endpoints, … */
const isMeant = (asked: string, name: string): boolean => name === asked || name.startsWith(`${asked}-`);
const unknown = positionals.filter((asked) => !benches.some(({ name }) => isMeant(asked, name)));
if (unknown.length > 0) {
  console.error(`no bench is called ${unknown.join(", ")}; there are: ${benches.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

const tables: BenchTable[] = [];
const skipped: { name: string; why: string }[] = [];
for (const bench of benches) {
  if (positionals.length > 0 && !positionals.some((asked) => isMeant(asked, bench.name))) continue;
  const why = await bench.missing();
  if (why !== undefined) {
    skipped.push({ name: bench.name, why });
    console.error(`${bench.name}: skipped, ${why}`);
    continue;
  }
  const progress = (text: string): void => console.error(`${bench.name}: ${text}`);
  const table = await bench.run({ quick, progress });
  tables.push(table);
  if (!values.json) console.log(`\n${table.title}\n\n${renderTable(table)}`);
}
const result = {
  machine: machineText(),
  node: process.version,
  quick,
  at: new Date().toISOString(),
  tables,
  skipped,
};
if (values.json) console.log(JSON.stringify(result, undefined, 2));
if (!quick) await record(result.tables);
process.exitCode = tables.some((table) => table.rows.some((row) => gateMet(row) === false)) ? 1 : 0;

/** Keeps the last table of every bench, so that one bench can be repeated alone. */
async function record(fresh: readonly BenchTable[]): Promise<void> {
  const old = await readFile(resultsUrl, "utf8").then(
    (text) => (JSON.parse(text) as { tables: BenchTable[] }).tables,
    () => [],
  );
  const worse = regressions(fresh, old);
  for (const line of worse) console.error(`worse than the last recorded run: ${line}`);
  const kept = benches.flatMap(({ name }) =>
    [fresh, old].flatMap((list) => list.filter((table) => table.name === name)).slice(0, 1),
  );
  await mkdir(new URL(".", resultsUrl), { recursive: true });
  await writeFile(resultsUrl, `${JSON.stringify({ ...result, tables: kept }, undefined, 2)}\n`);
  const sections = kept.map((table) => `## ${table.title}\n\n${table.method}\n\n${renderTable(table)}\n`);
  await writeFile(performanceUrl, `${introduction()}\n${sections.join("\n")}`);
}

function introduction(): string {
  return `# Performance

Written by \`npm run bench\`; do not edit. Repeat one part with \`npm run bench -- NAME\` (${benches.map(({ name }) => name).join(", ")}).

Each figure stands beside a peer that did the same work in the same run on the same machine; the ratio is the claim, the
absolute figures belong to ${machineText()}, Node ${process.version}. A gate is what the project asks for.
`;
}

function machineText(): string {
  return `a ${cpus().length}-core ${arch()} Linux ${release().split("-")[0]} machine`;
}
