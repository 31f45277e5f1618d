#!/usr/bin/env node
// Writes the figures of "Simulation" in docs/resilience.md from results of `npm run simulate -- --json`: report.mjs RESULT.json…
// Several results are parts of one run: their schedules are added up.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL("../../docs/resilience.md", import.meta.url));
const marks = ["<!-- simulation: written by test/simulation/report.mjs -->", "<!-- end of simulation -->"];
const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: report.mjs RESULT.json…");
  process.exit(2);
}
const results = files.map((file) => JSON.parse(readFileSync(file, "utf8")));
const sum = (of) => results.reduce((total, result) => total + of(result), 0);
const mutants = results.flatMap((result) => result.mutants);
const caught = mutants.filter(({ caughtBySeed }) => caughtBySeed !== undefined);
const seconds = Math.round(sum(({ schedulesMs }) => schedulesMs) / 1000);
const plain = (text) =>
  text
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "…")
    .replaceAll(/file:\/\/\/run\/netns\//g, "")
    .replaceAll("|", "/");
const text = [
  marks[0],
  "",
  "| | measured | goal |",
  "|---|---|---|",
  `| schedules | ${sum(({ schedules }) => schedules)} in ${seconds} s with ${results[0].workers} process${results[0].workers === 1 ? "" : "es"}, ${sum(({ events }) => events)} events | ≥ 10,000 within 10 min |`,
  `| schedules with a broken invariant | ${sum(({ broken }) => broken.length)} | 0 |`,
  `| planted mistakes caught | ${caught.length} of ${mutants.length} | all of ≥ 20 |`,
  "",
  "| planted mistake | kind | what would come of it | caught by |",
  "|---|---|---|---|",
  ...mutants.map(
    ({ name, kind, breaks, caughtBySeed, how = "" }) =>
      `| ${name} | ${kind} | ${breaks} | ${caughtBySeed === undefined ? "nothing" : `seed ${caughtBySeed}: ${plain(how)}`} |`,
  ),
  "",
  marks[1],
].join("\n");
const [head, rest] = readFileSync(page, "utf8").split(marks[0]);
const tail = rest?.split(marks[1])[1];
if (tail === undefined) throw new Error(`${page} has no place for it: ${marks.join(" … ")}`);
writeFileSync(page, `${head}${text}${tail}`);
console.log(`${page}: ${sum(({ schedules }) => schedules)} schedules, ${mutants.length} mutants`);
