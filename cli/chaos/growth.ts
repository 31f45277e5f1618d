/** Whether what a process holds grows (pure): lines of least squares through samples, with what they are uncertain by. */
import type { Usage } from "./usage.js";

export interface Sample extends Usage {
  readonly cycle: number;
}

/** Per 100 cycles. */
export interface Slope {
  readonly per100: number;
  /** Twice the standard error: the true slope is within `per100` ± `spread` in 19 of 20 cases, where samples scatter by chance. */
  readonly spread: number;
  /** The last sample. */
  readonly last: number;
}

export interface Growth {
  readonly name: string;
  /** From which cycle on; what came before is warming up. */
  readonly fromCycle: number;
  readonly toCycle: number;
  readonly samples: number;
  readonly memoryMiB: Slope;
  readonly heapMiB: Slope;
  readonly descriptors: Slope;
  readonly handles: Slope;
  /** What of it grows, in words; empty = nothing. */
  readonly grows: readonly string[];
}

/** A process grows into its size during this part of its life: caches fill, code is compiled. */
const warmUpShare = 1 / 3;
/** A slope through fewer points, or over fewer cycles, says nothing. */
const enoughSamples = 8;
const enoughCycles = 60;
/**
 * More than this per 100 cycles is a slope, if it is beyond its spread as well. Resident memory comes and goes by pages that the
 * allocator keeps; what is held shows on the heap. There V8 goes on compiling for hundreds of cycles, and the journal of decisions fills up
 * to its bound (sdk/elements/explain.ts). Handles are some ten timers that come and go with the clients: one that stayed in each cycle would be 100.
 */
const limits = { memoryMiB: 2, heapMiB: 0.5, descriptors: 1, handles: 10 } as const;
type Measure = keyof typeof limits;
const measures = Object.keys(limits) as Measure[];

/** Of the process under that name that lived longest; undefined when none lived long enough. */
export function growthOf(name: string, all: readonly Sample[]): Growth | undefined {
  const lives = new Map<number, Sample[]>();
  for (const sample of all) lives.set(sample.pid, [...(lives.get(sample.pid) ?? []), sample]);
  const longest = [...lives.values()].toSorted((a, b) => b.length - a.length)[0] ?? [];
  const later = longest.slice(Math.ceil(longest.length * warmUpShare));
  const [fromCycle, toCycle] = [later[0]?.cycle ?? 0, later.at(-1)?.cycle ?? 0];
  if (later.length < enoughSamples || toCycle - fromCycle < enoughCycles) return undefined;
  const slopes = Object.fromEntries(
    measures.map((measure) => [measure, slopeOf(later.map((sample) => [sample.cycle, sample[measure]]))]),
  ) as Record<Measure, Slope>;
  const grows = measures.filter((measure) => slopes[measure].per100 - slopes[measure].spread > limits[measure]);
  return { name, fromCycle, toCycle, samples: later.length, ...slopes, grows };
}

/** @param points  cycle and value, at least three, of more than one cycle */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): Slope {
  const mean = (of: 0 | 1): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  const under = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  const slope = under === 0 ? 0 : over / under;
  const squares = points.reduce((sum, point) => sum + (point[1] - y - slope * (point[0] - x)) ** 2, 0);
  const error = under === 0 ? 0 : Math.sqrt(squares / (points.length - 2) / under);
  return { per100: round(100 * slope), spread: round(200 * error), last: round(points.at(-1)?.[1] ?? 0) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
