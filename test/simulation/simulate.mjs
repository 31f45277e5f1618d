#!/usr/bin/env node
// npm run simulate [-- --schedules N --from SEED --mutants all|quick|none --workers N --json]
// Plays many seeds of the simulation and checks that every planted mistake is caught. Exit code 0: no invariant was broken and
// every mutant was caught.
//   --list FILE                     other mistakes than those of mutants.json
//   --record                        writes into mutants.json by which seed and by what each was caught
//   simulate.mjs --twice SEED --schedules N   whether N seeds play the same a second time
//   simulate.mjs --trace SEED       everything that happened, with virtual times
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundle } from "./bundle.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    schedules: { type: "string", default: "10000" },
    from: { type: "string", default: "1" },
    mutants: { type: "string", default: "all" },
    list: { type: "string", default: "mutants.json" },
    workers: { type: "string", default: String(Math.min(4, cpus().length)) },
    trace: { type: "string" },
    twice: { type: "string" },
    json: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});
const say = (text) => (values.json ? process.stderr : process.stdout).write(`${text}\n`);
/** Seeds that a mutant is given to be caught: from the one that caught it last. */
const chances = { quick: 60, all: 250 };

const folder = mkdtempSync(join(tmpdir(), "wt-simulation-"));
const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));
const shipped = join(folder, "shipped.mjs");
await bundle(undefined, shipped);

if (values.trace !== undefined) {
  const child = start(shipped, ["trace", values.trace], "inherit");
  process.exit((await once(child, "exit"))[0] ?? 1);
}

if (values.twice !== undefined) {
  const child = start(shipped, ["twice", values.twice, values.schedules], "inherit");
  process.exit((await once(child, "exit"))[0] ?? 1);
}

const startedMs = performance.now();
const count = Number(values.schedules);
const first = Number(values.from);
/** Seeds that one process plays before the next one takes over. */
const portion = Math.max(1, Math.min(250, Math.ceil(count / Number(values.workers))));
const portions = Array.from({ length: Math.ceil(count / portion) }, (_, i) => [
  first + i * portion,
  Math.min(portion, count - i * portion),
]);
const broken = [];
let events = 0;
await inParallel(portions, async ([seed, many]) => {
  const { found, total } = await play(shipped, seed, many);
  broken.push(...found);
  events += total?.events ?? 0;
  if (total === undefined) broken.push({ seed, broken: ["the process that played from this seed on ended before it was done"] });
});
const schedulesMs = performance.now() - startedMs;
say(`${count} schedules, ${events} events, ${broken.length} with a broken invariant, ${Math.round(schedulesMs / 1000)} s`);
for (const { seed, broken: why, faults = [] } of broken.slice(0, 20))
  say(`  seed ${seed}: ${why[0]}\n    faults: ${faults.join("; ")}`);

const list = values.list === "mutants.json" ? here(values.list) : values.list;
const mutants = values.mutants === "none" ? [] : JSON.parse(readFileSync(list, "utf8"));
const verdicts = [];
await inParallel(mutants, async (mutant) => {
  const file = join(folder, `mutant-${mutants.indexOf(mutant)}.mjs`);
  // one that no longer fits the code is told as one that was not caught
  const problem = await bundle(mutant, file).then(
    () => undefined,
    (error) => error.message.split("\n").at(-1),
  );
  const many = chances[values.mutants] ?? chances.all;
  const { found, total } = problem === undefined ? await play(file, mutant.seed ?? 1, many, "first") : { found: [] };
  const [caught] = found;
  verdicts.push({
    name: mutant.name,
    kind: mutant.kind,
    breaks: mutant.breaks,
    caughtBySeed: caught?.seed,
    how: caught?.broken[0]?.split("\n")[0],
    ran: total !== undefined,
  });
  say(
    caught === undefined
      ? `  NOT CAUGHT: ${mutant.name}${problem === undefined ? "" : ` (${problem})`}`
      : `  caught by seed ${caught.seed}: ${mutant.name} (${caught.broken[0]})`,
  );
});
verdicts.sort((a, b) => mutants.findIndex(({ name }) => name === a.name) - mutants.findIndex(({ name }) => name === b.name));
if (values.record) {
  const caught = mutants.map((mutant, i) => ({
    ...mutant,
    seed: verdicts[i].caughtBySeed ?? mutant.seed,
    caughtBy: verdicts[i].how,
  }));
  writeFileSync(list, `${JSON.stringify(caught, null, 2)}\n`);
}
const escaped = verdicts.filter(({ caughtBySeed }) => caughtBySeed === undefined).length;
const ok = broken.length === 0 && escaped === 0;
const tookMs = Math.round(performance.now() - startedMs);
const summary = `${count} schedules, ${broken.length} broken; ${verdicts.length - escaped} of ${verdicts.length} mutants caught; ${Math.round(tookMs / 1000)} s`;
say(summary);
if (values.json)
  process.stdout.write(
    `${JSON.stringify({ ok, summary, workers: Number(values.workers), schedules: count, events, tookMs, schedulesMs: Math.round(schedulesMs), broken, mutants: verdicts })}\n`,
  );
process.exit(ok ? 0 : 1);

/** One process that plays seeds, one after the other; `until` "first": it ends at the first that breaks an invariant. */
async function play(file, seed, many, until = "all") {
  const child = start(file, [String(seed), String(many), until], "pipe");
  const found = [];
  let total;
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith("{")) continue;
    const said = JSON.parse(line);
    if ("schedules" in said) total = said;
    else found.push(said);
  }
  return { found, total };
}

function start(file, argv, stdout) {
  const child = spawn(process.execPath, ["--max-semi-space-size=32", "--stack-trace-limit=0", file, ...argv], {
    stdio: ["ignore", stdout, "inherit"],
    // what one leaves that is cut off goes with the folder
    env: { ...process.env, TMPDIR: folder },
  });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

async function inParallel(items, work) {
  const waiting = [...items];
  const one = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, one));
}
