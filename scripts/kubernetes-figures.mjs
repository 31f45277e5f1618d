#!/usr/bin/env node
// Puts the figures of the last whole run of the cluster test (dist/kubernetes-figures.json) into docs/kubernetes.md.
//   npm run test:kubernetes && node scripts/kubernetes-figures.mjs
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL("../docs/kubernetes.md", import.meta.url));
const { load, figures } = JSON.parse(readFileSync(new URL("../dist/kubernetes-figures.json", import.meta.url), "utf8"));
const [begin, end] = ["<!-- figures: begin -->", "<!-- figures: end -->"];
const rows = figures.map(({ what, measured, goal }) => `| ${what} | ${measured} | ${goal} |`);
const about = `On a machine of ${availableParallelism()} cores that runs both nodes and the control plane; its load was ${load} meanwhile.`;
const text = [begin, about, "", "| what | measured | goal |", "|---|---|---|", ...rows, end].join("\n");
const before = readFileSync(page, "utf8");
const [from, to] = [before.indexOf(begin), before.indexOf(end)];
if (from < 0 || to < from) throw new Error(`${page} has no ${begin} … ${end}`);
writeFileSync(page, before.slice(0, from) + text + before.slice(to + end.length));
