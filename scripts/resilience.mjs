#!/usr/bin/env node
// Writes the figures of docs/resilience.md from results of `npm run chaos -- --json`; those of the simulation: test/simulation/report.mjs.
//   resilience.mjs --run FOLDER           makes the results that FOLDER does not have yet, one file for each part, and writes the figures
//     --only PART,…                       these parts only (a name or the beginning of one)
//     --quick                             few faults in each: five minutes instead of half an hour, and figures that say less
//     --again                             makes results anew that are there
//   resilience.mjs FOLDER                 writes the figures from the results that are there
// Every part takes about five minutes at most. A part that was void because the machine lost packets itself is made again, twice at most.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { churnRows } from "./resilience-churn.mjs";

const top = fileURLToPath(new URL("..", import.meta.url));
const page = join(top, "docs", "resilience.md");
const marks = ["<!-- figures: written by scripts/resilience.mjs -->", "<!-- end of figures -->"];
const { values, positionals } = parseArgs({
  options: {
    run: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    again: { type: "boolean", default: false },
    only: { type: "string" },
  },
  allowPositionals: true,
});
const [folder] = positionals;
if (folder === undefined) {
  console.error("usage: resilience.mjs [--run [--quick] [--again] [--only PART,…]] FOLDER");
  process.exit(2);
}
const chaosScript = join(top, "scripts", "weft.mjs");
const partTimeoutMs = 10 * 60_000;
const triesWhenVoid = 3;
if (values.run) makeResults();
writePage(
  readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => ({ part: name.slice(0, -".json".length), ...JSON.parse(readFileSync(join(folder, name), "utf8")) })),
);

/** Name, program and arguments of each part. */
function parts() {
  const some = (few, many) => String(values.quick ? few : many);
  const times = (count, make) => Array.from({ length: values.quick ? 1 : count }, (_, index) => make(index + 1));
  const chaos = (name, ...argv) => ({ name, argv: ["chaos", "--json", ...argv] });
  const probes = ["--probe-interval", "50", "--probe-timeout", "150"];
  const faults = (seed, kinds, few, many) => ["--seed", String(seed), "--only", kinds, "--faults", some(few, many)];
  return [
    ...times(3, (seed) => chaos(`planned-${seed}`, ...faults(seed, "restart", 4, 34))),
    ...times(2, (seed) => chaos(`drain-${seed}`, ...faults(seed, "retire,drain", 4, 25))),
    ...times(3, (seed) => chaos(`exchange-${seed}`, ...faults(seed, "drain-forwarder,drain-node,roll", 3, 12))),
    ...times(2, (seed) => chaos(`kill-${seed}`, ...faults(seed, "kill", 4, 20))),
    chaos("workloads", ...faults(1, "kill-workload", 2, 10)),
    chaos("endpoint-same-node", ...faults(2, "pod-gone", 2, 16), "--nodes", "1", "--connections", "20", ...probes),
    chaos("endpoint-other-node", ...faults(2, "pod-gone", 2, 16), "--connections", "20", ...probes),
    chaos("cut", ...faults(2, "interface-down", 4, 40), "--connections", "20", ...probes),
    chaos("pairs", ...faults(1, "kill-two", 2, 10)),
    chaos("everything", ...faults(1, "everything", 1, 6)),
    ...times(3, (seed) => chaos(`node-${seed}`, ...faults(seed, "node-down", 1, 1), "--topology", manyLost(), ...probes)),
    ...times(2, (seed) => chaos(`odd-${seed}`, ...faults(seed, "freeze,clock,slow,half-open,disk-full", 3, 12))),
    ...times(2, (seed) =>
      chaos(`network-${seed}`, ...faults(seed, "link-down,partition,bad-cable", 2, 10), "--nodes", String(seed + 1)),
    ),
    ...times(4, (seed) => chaos(`churn-${seed}`, "--seed", String(seed), "--churn", some(30, 150), "--connections", "20")),
    // one node lives through it all, so that slopes can be told
    chaos("soak", "--seed", "5", "--churn", some(100, 600), "--connections", "20", "--spare", "node-1"),
  ];
}

/** 200 connections of eight workloads lead to one node; their services have other endpoints by the time it goes. */
function manyLost() {
  const file = join(folder, "many-lost.yaml");
  const connections = values.quick ? 5 : 25;
  const clients = ["a", "b", "c", "d"].flatMap((letter) => [
    `  - { pod: shop-${letter}, node: node-1, service: web, connections: ${connections} }`,
    `  - { pod: till-${letter}, node: node-3, service: store, connections: ${connections} }`,
  ]);
  const text = `nodes: 3
services: [{ name: web }, { name: store }]
endpoints:
  - { pod: web-2, node: node-2, service: web }
  - { pod: store-2, node: node-2, service: store }
  - { pod: web-3, node: node-3, service: web, standby: true }
  - { pod: store-1, node: node-1, service: store, standby: true }
clients:
${clients.join("\n")}
`;
  writeFileSync(file, text);
  return file;
}

function makeResults() {
  mkdirSync(folder, { recursive: true });
  const wanted = values.only?.split(",");
  const all = parts().filter(({ name }) => wanted === undefined || wanted.some((one) => name.startsWith(one)));
  for (const [index, part] of all.entries()) {
    const file = join(folder, `${part.name}.json`);
    if (existsSync(file) && !values.again) {
      console.log(`${part.name}: is there`);
      continue;
    }
    console.log(`${new Date().toISOString()} part ${index + 1} of ${all.length}, ${part.name}: ${part.argv.join(" ")}`);
    for (let tries = 1; tries <= triesWhenVoid; tries++) {
      const result = play(part);
      if (result === undefined) break;
      writeFileSync(file, result);
      if (JSON.parse(result).void !== true) break;
      console.log(`${part.name}: the machine lost packets itself`);
    }
  }
}

function play({ name, argv }) {
  const { stdout } = spawnSync(process.execPath, [chaosScript, ...argv], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
    timeout: partTimeoutMs,
    killSignal: "SIGKILL",
  });
  try {
    JSON.parse(stdout);
    return stdout;
  } catch {
    console.log(`${name}: gave no result`);
    return undefined;
  }
}

function writePage(results) {
  const runs = results.filter((result) => Array.isArray(result.timeline) && !result.void);
  const voids = results.filter((result) => result.void === true).length;
  const entries = runs.flatMap(({ part, timeline }) => timeline.map((entry) => ({ part, ...entry })));
  const churns = results.filter(({ cycles }) => cycles !== undefined);
  const rows = rowsOf(entries, churns);
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
    marks[1],
  ].join("\n");
  const before = readFileSync(page, "utf8");
  const [head, rest] = before.split(marks[0]);
  const tail = rest?.split(marks[1])[1] ?? "\n";
  writeFileSync(page, `${head}${text}${tail}`);
  console.log(`${page}: ${rows.length} rows`);
}

/** Fault, times, measured, goal. */
function rowsOf(entries, churns) {
  const of = (...kinds) => entries.filter(({ fault }) => kinds.includes(fault.kind));
  const aimed = (list, pattern) => list.filter(({ fault }) => fault.targets.length === 1 && pattern.test(fault.targets[0]));
  const from = (part) => entries.filter((entry) => entry.part.startsWith(part));
  const cut = of("interface-down");
  const nodeDown = of("node-down");
  return [
    lossRow(
      "planned restart (SIGTERM) of the registry, a manager, a forwarder or an endpoint",
      of("restart"),
      "0 lost, 100 of 100",
    ),
    lossRow(
      "planned drain of an endpoint (`weft drain endpoint`, or SIGTERM with its own drain)",
      of("drain", "retire"),
      "0 lost",
    ),
    lossRow(
      "a forwarder is drained to a second one (`weft drain forwarder`), restarted, and has its connections back",
      of("drain-forwarder"),
      "0 lost",
    ),
    lossRow(
      "a node is drained (`weft drain node`), its manager and forwarder restarted, and takes part again",
      of("drain-node"),
      "0 lost",
    ),
    lossRow("all components restarted in turn (rolling upgrade)", of("roll"), "0 lost"),
    lossRow("kill -9 of a manager or the registry", aimed(of("kill"), /^(nsmgr-|registry)/), "0 lost"),
    lossRow("kill -9 of a forwarder (VXLAN and WireGuard)", aimed(of("kill"), /^forwarder-/), "0 lost"),
    lossRow(
      "kill -9 of an endpoint's or client's process, its pod lives",
      aimed(of("kill"), /^(?!nsmgr-|registry|forwarder-)/),
      "0 lost",
    ),
    lossRow("frozen process, clock step, slow registry, half-open TCP", of("freeze", "clock", "slow", "half-open"), "0 lost"),
    lossRow("full disk, a forwarder killed meanwhile", of("disk-full"), "0 lost"),
    outageRow("endpoint gone with its pod, another one on the same node: no packets for", from("endpoint-same"), "p99 ≤ 300 ms"),
    outageRow("endpoint gone with its pod, on two nodes: no packets for", from("endpoint-other"), "p99 ≤ 500 ms"),
    foundRow("data path cut, control plane healthy: found after", cut, ({ foundAfterMs }) => foundAfterMs, "≤ 200 ms"),
    foundRow("… healed after", cut, ({ healedAfterMs }) => healedAfterMs, "p99 ≤ 500 ms"),
    outageRow("… no packets for", cut, "p99 ≤ 500 ms"),
    wellRow(
      "two killed at once: all well after the last is back",
      of("kill").filter(({ fault }) => fault.targets.length === 2),
      "≤ 3 s",
    ),
    wellRow("everything killed at once: all well after the last is back", of("everything"), "≤ 3 s"),
    lossRow("… packets", of("everything"), "0 lost"),
    wellRow("link down, partition or bad cable: all well after its end", of("link-down", "partition", "bad-cable"), "≤ 3 s"),
    outageRow(`node down, ${most(nodeDown, "noticed")} connections lost at once: no packets for`, nodeDown, "≤ 2 s"),
    requestRow(nodeDown),
    ...churnRows(churns),
  ].filter((row) => row !== undefined);
}

function most(entries, field) {
  return Math.max(0, ...entries.map((entry) => entry[field]));
}

/** How hard the clients press when a node is gone. */
function requestRow(entries) {
  if (entries.length === 0) return undefined;
  const perConnection = entries.map(({ requests, noticed }) => (requests / Math.max(1, noticed)).toFixed(1));
  return [
    "… Requests of the clients until all is well",
    String(entries.length),
    `${perConnection.join(", ")} for each connection; at most ${most(entries, "mostPer100Ms")} in 100 ms`,
    "bounded",
  ];
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
  const kinds = new Map();
  for (const entry of broken) kinds.set(entry.fault.kind, [...(kinds.get(entry.fault.kind) ?? []), entry]);
  const lines = [...kinds].map(([kind, list]) => `- ${kind}: ${list.length} times, for example: ${list[0].broken[0]}`);
  return ["Promises that did not hold in these runs:", "", ...lines, ""];
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
