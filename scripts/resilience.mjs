#!/usr/bin/env node
// Writes the figures of docs/resilience.md from results of `npm run chaos -- --json` and `npm run simulate -- --json`.
//   resilience.mjs --run FOLDER [--quick]   makes the results, one file each (an hour and more; --quick: ten minutes)
//   resilience.mjs FOLDER                   writes the figures from the results that are there
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const top = fileURLToPath(new URL("..", import.meta.url));
const page = join(top, "docs", "resilience.md");
const marks = ["<!-- figures: written by scripts/resilience.mjs -->", "<!-- end of figures -->"];
const { values, positionals } = parseArgs({
  options: { run: { type: "boolean", default: false }, quick: { type: "boolean", default: false } },
  allowPositionals: true,
});
const [folder] = positionals;
if (folder === undefined) {
  console.error("usage: resilience.mjs [--run [--quick]] FOLDER");
  process.exit(2);
}
if (values.run) makeResults();
writePage(
  readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8"))),
);

function makeResults() {
  mkdirSync(folder, { recursive: true });
  const chaos = (name, ...argv) => keep(name, join(top, "scripts", "weft.mjs"), ["chaos", "--json", ...argv]);
  const some = (few, many) => String(values.quick ? few : many);
  const probes = ["--probe-interval", "50", "--probe-timeout", "150"];
  chaos("planned", "--seed", "1", "--only", "restart", "--faults", some(5, 100));
  chaos("endpoints", "--seed", "2", "--only", "pod-gone,interface-down", "--faults", some(6, 60), "--nodes", "3", ...probes);
  chaos("node", "--seed", "3", "--only", "node-down", "--faults", some(1, 5), "--nodes", "3", "--connections", some(50, 200));
  for (let seed = 1; seed <= (values.quick ? 1 : 10); seed++) {
    chaos(
      `mixed-${String(seed).padStart(2, "0")}`,
      "--seed",
      String(seed),
      "--nodes",
      seed % 2 === 0 ? "3" : "2",
      "--faults",
      some(8, 16),
    );
  }
  chaos("churn", "--seed", "1", "--churn", some(60, 600), "--connections", "20");
  keep("simulation", join(top, "test", "simulation", "simulate.mjs"), ["--json", "--schedules", some(1000, 10000)]);
}

function keep(name, script, argv) {
  console.log(`${new Date().toISOString()} ${name}: ${argv.join(" ")}`);
  const { stdout } = spawnSync(process.execPath, [script, ...argv], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
  });
  if (stdout !== "") writeFileSync(join(folder, `${name}.json`), stdout);
}

function writePage(results) {
  const runs = results.filter((result) => Array.isArray(result.timeline) && !result.void);
  const voids = results.filter((result) => result.void === true).length;
  const entries = runs.flatMap(({ timeline }) => timeline);
  const churns = results.filter(({ cycles }) => cycles !== undefined);
  const simulations = results.filter(({ mutants }) => mutants !== undefined);
  const rows = rowsOf(entries, churns, simulations);
  const text = [
    marks[0],
    "",
    `${runs.length} chaos runs, ${entries.length} faults, ${sum(runs.map(({ sent }) => sent))} packets on ${Math.max(0, ...runs.map(({ connections }) => connections))} connections at most; ${voids} runs void; ${sum(runs.map(({ orphans }) => orphans.length))} orphans.`,
    "",
    "| fault | times | measured | goal |",
    "|---|---|---|---|",
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    "",
    ...brokenPromises(entries),
    ...simulations.slice(0, 1).flatMap(mutantList),
    marks[1],
  ].join("\n");
  const before = readFileSync(page, "utf8");
  const [head, rest] = before.split(marks[0]);
  const tail = rest?.split(marks[1])[1] ?? "\n";
  writeFileSync(page, `${head}${text}${tail}`);
  console.log(`${page}: ${rows.length} rows`);
}

/** Fault, times, measured, goal. */
function rowsOf(entries, churns, simulations) {
  const of = (...kinds) => entries.filter(({ fault }) => kinds.includes(fault.kind));
  const aimed = (list, pattern) => list.filter(({ fault }) => fault.targets.length === 1 && pattern.test(fault.targets[0]));
  return [
    lossRow("planned restart (SIGTERM) of a component", of("restart"), "0 lost, 100 of 100"),
    lossRow("kill -9 of nsmgr or registry", aimed(of("kill"), /^(nsmgr-|registry)/), "0 lost"),
    lossRow("kill -9 of a forwarder", aimed(of("kill"), /^forwarder-/), "0 lost"),
    lossRow(
      "kill -9 of an endpoint's or client's process, its pod lives",
      aimed(of("kill"), /^(?!nsmgr-|registry|forwarder-)/),
      "0 lost",
    ),
    lossRow("frozen process, clock step, slow registry, half-open TCP", of("freeze", "clock", "slow", "half-open"), "0 lost"),
    lossRow("full disk, a forwarder killed meanwhile", of("disk-full"), "0 lost"),
    outageRow(
      "endpoint gone with its pod, another one available: no packets for",
      of("pod-gone"),
      "p99 ≤ 300 ms same node, ≤ 500 ms other",
    ),
    foundRow(
      "data path cut, control plane healthy: found after",
      of("interface-down"),
      ({ foundAfterMs }) => foundAfterMs,
      "≤ 200 ms",
    ),
    foundRow("… healed after", of("interface-down"), ({ healedAfterMs }) => healedAfterMs, "p99 ≤ 500 ms"),
    wellRow(
      "two killed at once: all well after the last is back",
      of("kill").filter(({ fault }) => fault.targets.length === 2),
      "≤ 3 s",
    ),
    wellRow("everything killed at once: all well after the last is back", of("everything"), "≤ 3 s"),
    wellRow("link down, partition or bad cable: all well after its end", of("link-down", "partition", "bad-cable"), "≤ 3 s"),
    outageRow("node down: no packets for", of("node-down"), "≤ 2 s"),
    ...churns.map(({ cycles, kills, orphans, addressesTwice, growth }) => {
      const most = Math.max(0, ...growth.map(({ memoryMiBPer100 }) => memoryMiBPer100));
      return [
        `${cycles} churn cycles, ${kills} components killed`,
        "1",
        `${orphans.length} orphans, ${addressesTwice.length} addresses twice, memory ≤ ${most} MiB per 100 cycles`,
        "0; flat",
      ];
    }),
    ...simulations.map(({ schedules, broken, mutants, schedulesMs }) => [
      "simulation",
      String(schedules),
      `${broken.length} invariants broken in ${Math.round(schedulesMs / 1000)} s; ${mutants.filter(({ caughtBySeed }) => caughtBySeed !== undefined).length} of ${mutants.length} mutants caught`,
      "0 broken, all caught",
    ]),
  ].filter((row) => row !== undefined);
}

function lossRow(name, entries, goal) {
  if (entries.length === 0) return undefined;
  const lossless = entries.filter(({ lost }) => lost === 0).length;
  return [
    name,
    String(entries.length),
    `${sum(entries.map(({ lost }) => lost))} lost of ${sum(entries.map(({ sent }) => sent))}; ${lossless} of ${entries.length} without loss`,
    goal,
  ];
}

function outageRow(name, entries, goal) {
  const outages = entries.flatMap(({ losses }) => losses.map(({ outageMs }) => outageMs));
  return entries.length === 0 ? undefined : [name, String(entries.length), spread(outages), goal];
}

function foundRow(name, entries, timeOf, goal) {
  const times = entries.map(timeOf).filter((time) => time !== undefined);
  return times.length === 0 ? undefined : [name, String(times.length), spread(times), goal];
}

function wellRow(name, entries, goal) {
  return foundRow(name, entries, ({ wellAfterMs }) => wellAfterMs, goal);
}

function spread(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return `median ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${sorted.at(-1) ?? 0} ms`;
}

function brokenPromises(entries) {
  const broken = entries.filter((entry) => entry.broken.length > 0);
  if (broken.length === 0) return [];
  const kinds = Map.groupBy?.(broken, ({ fault }) => fault.kind) ?? new Map();
  const lines = [...kinds].map(([kind, list]) => `- ${kind}: ${list.length} times, for example: ${list[0].broken[0]}`);
  return ["Promises that did not hold in these runs:", "", ...lines, ""];
}

function mutantList({ mutants }) {
  const lines = mutants.map(
    ({ name, breaks, caughtBySeed }) =>
      `| ${name} | ${breaks} | ${caughtBySeed === undefined ? "NOT CAUGHT" : `seed ${caughtBySeed}`} |`,
  );
  return [
    "Planted mistakes, each of which the simulation has to catch:",
    "",
    "| mistake | what comes of it | caught by |",
    "|---|---|---|",
    ...lines,
    "",
  ];
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
