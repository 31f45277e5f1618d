/**
 * How long a tenant waits while another rages: a model of a component in virtual time, so that the machine that runs the test
 * has no part in it. One processor takes pieces of work in their order; a request is some pieces with pauses between them,
 * in which the next hop has it. The admission in front is the real one, with its defaults.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Admission, type AdmissionLimits, createAdmission } from "./admission.js";
import { defaultLimits } from "./settings.js";

const piecesOfRequest = 8;
const pieceMs = 1;
const hopMs = 2;
/** To refuse a request after it has been looked at, and one that is refused by its name. */
const lookMs = 2;
const nameMs = 0.2;

const storms: { why: string; limits: AdmissionLimits; workers: number }[] = [
  { why: "within its rate, 200 at once, with the default limits", limits: defaultLimits, workers: 200 },
  { why: "far beyond its rate", limits: { ...defaultLimits, ratePerS: 50, burst: 50, perTenant: 2 }, workers: 500 },
  { why: "beyond its quota", limits: { ...defaultLimits, quota: 5 }, workers: 200 },
];
for (const { why, limits, workers } of storms) {
  test(`the storm of one tenant, ${why}, leaves another's p99 within twice what it was; and its heal, too`, async () => {
    const quiet = await run({ limits, workers: 0, isKnown: false });
    const storm = await run({ limits, workers, isKnown: false });
    const heals = await run({ limits, workers, isKnown: true });
    const [before, during, healing] = [p99(quiet.times), p99(storm.times), p99(heals.times)];
    assert.ok(quiet.times.length > 200 && storm.times.length > 100, `${quiet.times.length}, ${storm.times.length}`);
    const told = `${before} ms quiet, ${during} ms in the storm, ${healing} ms heals; the storm: ${storm.served} served, ${storm.refused} refused`;
    assert.ok(during <= 2 * before, told);
    assert.ok(healing <= 2 * before, told);
    // refused calls do not cost it what it may have
    const due = Math.min(limits.quota === 5 ? 5 : Number.POSITIVE_INFINITY, 0.5 * limits.ratePerS * 12, 500);
    assert.ok(storm.served >= due, told);
  });
}

test("a tenant that is alone has no bound but its own: nothing is taken from it", async () => {
  const alone = await run({ limits: defaultLimits, workers: 64, isKnown: false, isVictimThere: false });
  // one processor with eight milliseconds of work for each
  assert.ok(alone.served >= 0.9 * (alone.durationMs / (piecesOfRequest * pieceMs)), `${alone.served} in ${alone.durationMs} ms`);
});

interface Run {
  readonly limits: AdmissionLimits;
  /** Of the storm; each asks again as soon as it is answered. */
  readonly workers: number;
  readonly isKnown: boolean;
  readonly isVictimThere?: boolean;
}

async function run({ limits, workers, isKnown, isVictimThere = true }: Run) {
  const world = createWorld();
  const admission = createAdmission(limits, world.nowMs, world.utilization);
  const result = { times: [] as number[], served: 0, refused: 0, durationMs: 12_000 };
  const isOver = (): boolean => world.nowMs() >= result.durationMs;
  let held = 0;
  const stormed = async (): Promise<void> => {
    while (!isOver()) {
      // its connections stay: that is what a quota bounds
      const isServed = await ask(world, admission, { tenant: "storm", isKnown: false, held });
      if (isServed) held++;
      result[isServed ? "served" : "refused"]++;
    }
  };
  const victim = async (): Promise<void> => {
    // the storm has begun before
    await world.pass(2_000);
    while (!isOver()) {
      const fromMs = world.nowMs();
      assert.ok(
        await ask(world, admission, { tenant: "victim", isKnown, held: isKnown ? undefined : 0 }),
        "the other is never refused",
      );
      result.times.push(world.nowMs() - fromMs);
      await world.pass(7);
    }
  };
  await world.until([...Array.from({ length: workers }, stormed), ...(isVictimThere ? [victim()] : [])]);
  return result;
}

type World = ReturnType<typeof createWorld>;

async function ask(world: World, admission: Admission, who: { tenant: string; isKnown: boolean; held: number | undefined }) {
  const holdMs = admission.holdMs(who.tenant);
  if (holdMs !== undefined) {
    await world.pass(holdMs);
    await world.work(nameMs);
    return false;
  }
  await world.work(pieceMs);
  let leave: () => void;
  try {
    leave = await admission.enter({ ...who, signal: new AbortController().signal });
  } catch {
    await world.work(lookMs);
    return false;
  }
  for (let piece = 1; piece < piecesOfRequest; piece++) {
    await world.work(pieceMs);
    await world.pass(hopMs);
  }
  leave();
  return true;
}

/** Virtual time with one processor. */
function createWorld() {
  let nowMs = 0;
  let freeMs = 0;
  let busyMs = 0;
  let sample = { atMs: 0, busyMs: 0 };
  const events: { atMs: number; order: number; go: () => void }[] = [];
  let order = 0;
  const at = (atMs: number): Promise<void> => new Promise((go) => void events.push({ atMs, order: order++, go }));
  return {
    nowMs: () => nowMs,
    pass: (ms: number) => at(nowMs + ms),
    work(ms: number): Promise<void> {
      freeMs = Math.max(freeMs, nowMs) + ms;
      busyMs += ms;
      return at(freeMs);
    },
    /** Work that waits counts as done: a queue is a busy processor. */
    utilization(): number {
      const used = Math.min(1, (busyMs - sample.busyMs) / Math.max(1e-9, nowMs - sample.atMs));
      sample = { atMs: nowMs, busyMs };
      return used;
    },
    async until(all: Promise<void>[]): Promise<void> {
      let isDone = false;
      void Promise.all(all).then(() => {
        isDone = true;
      });
      for (;;) {
        await new Promise(setImmediate);
        if (isDone) return;
        const next = events.reduce<number>((best, { atMs, order: o }, i) => {
          const other = events[best];
          return other === undefined || atMs < other.atMs || (atMs === other.atMs && o < other.order) ? i : best;
        }, -1);
        const [event] = events.splice(next, 1);
        if (event === undefined) throw new Error("nothing happens any more");
        nowMs = event.atMs;
        event.go();
      }
    },
  };
}

function p99(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0;
}
