/**
 * Plays seeds and says what came of them. Runs in a process of its own, on virtual time: see simulate.mjs.
 *   worker.ts FIRST COUNT [first]   one JSON line for each seed with a broken invariant, and one at the end; `first`: only until then
 *   worker.ts twice SEED COUNT      whether each seed plays the same a second time
 *   worker.ts trace SEED            the log of all components with virtual times
 */
import { createLog } from "../../sdk/telemetry/log.js";
import { machineMs } from "./globals.js";
import { play } from "./scenario.js";

const [what = "1", more = "1", until = "all"] = process.argv.slice(2);
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (what === "trace") {
  const outcome = await play(Number(more), (world) => {
    const startMs = world.nowMs();
    return (name) => {
      const destination = {
        write(line: string) {
          const { time: _, component, ...fields } = JSON.parse(line) as { time: string; component: string };
          process.stdout.write(
            `${((world.nowMs() - startMs) / 1000).toFixed(3).padStart(8)} ${component} ${JSON.stringify(fields)}\n`,
          );
        },
      };
      return createLog({ name, level: "debug", destination });
    };
  });
  say(outcome);
} else if (what === "twice") {
  const [first = 1, count = 1] = process.argv.slice(3).map(Number);
  const outcomes = [];
  for (let seed = first; seed < first + count; seed++)
    outcomes.push({ seed, one: (await play(seed)).fingerprint, other: (await play(seed)).fingerprint });
  say({ differing: outcomes.filter(({ one, other }) => one !== other) });
} else {
  const startedMs = machineMs();
  let events = 0;
  let broken = 0;
  for (let seed = Number(what); seed < Number(what) + Number(more); seed++) {
    const outcome = await play(seed);
    events += outcome.events;
    if (outcome.broken.length === 0) continue;
    broken++;
    say(outcome);
    if (until === "first") break;
  }
  say({ schedules: Number(more), broken, events, tookMs: Math.round(machineMs() - startedMs) });
}
// whatever still waits, waits for a world that is over
process.exit(0);
