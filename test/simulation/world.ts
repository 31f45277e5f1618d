/**
 * Virtual time: everything that happens is an event with a time and an owner, and happens in an order that the seed alone
 * decides. Between two events all promises settle, so code that runs in an event of one process never runs in another's.
 */
import { type Chance, createChance } from "../../cli/chaos/random.js";

export interface SimProcess {
  readonly name: string;
  readonly node: string;
  alive: boolean;
  /** Stopped (SIGSTOP): its events wait. */
  frozen: boolean;
  readonly waiting: SimEvent[];
  /** What its wall clock shows more than the world's. */
  clockOffsetMs: number;
  /** Told when it dies: connections to it break. */
  readonly onDeath: Set<() => void>;
}

export interface SimEvent {
  readonly timeMs: number;
  readonly order: number;
  readonly owner: SimProcess | undefined;
  readonly action: () => void;
  cancelled: boolean;
}

export interface World {
  readonly chance: Chance;
  /** In whose event we are; undefined = the director's. */
  readonly current: SimProcess | undefined;
  nowMs(): number;
  at(timeMs: number, owner: SimProcess | undefined, action: () => void): SimEvent;
  sleep(durationMs: number): Promise<void>;
  start(name: string, node: string): SimProcess;
  kill(process: SimProcess): void;
  freeze(process: SimProcess, frozen: boolean): void;
  /** Runs `action` as this process, now. */
  as<T>(process: SimProcess | undefined, action: () => T): T;
  /** Lets events happen until the promise settles. @throws Error when nothing is left that could happen */
  run<T>(until: Promise<T>): Promise<T>;
  readonly events: number;
}

const turn = globalThis.setImmediate;
/** An ordinary date, so that times in messages look like times. */
const startMs = Date.UTC(2030, 0, 1);

export function createWorld(seed: number): World {
  const chance = createChance(seed);
  const heap = createHeap();
  let nowMs = startMs;
  let order = 0;
  let current: SimProcess | undefined;
  let events = 0;

  function at(timeMs: number, owner: SimProcess | undefined, action: () => void): SimEvent {
    const event: SimEvent = { timeMs: Math.max(timeMs, nowMs), order: order++, owner, action, cancelled: false };
    heap.push(event);
    return event;
  }

  async function step(): Promise<boolean> {
    const event = heap.pop();
    if (event === undefined) return false;
    if (event.cancelled) return true;
    nowMs = Math.max(nowMs, event.timeMs);
    const { owner } = event;
    if (owner !== undefined && !owner.alive) return true;
    if (owner?.frozen) {
      owner.waiting.push(event);
      return true;
    }
    current = owner;
    events++;
    event.action();
    await new Promise<void>((resolve) => turn(resolve));
    current = undefined;
    return true;
  }

  return {
    chance,
    get current() {
      return current;
    },
    get events() {
      return events;
    },
    nowMs: () => nowMs,
    at,
    sleep: (durationMs) => new Promise((resolve) => at(nowMs + durationMs, undefined, resolve)),
    start: (name, node) => ({
      name,
      node,
      alive: true,
      frozen: false,
      waiting: [],
      clockOffsetMs: 0,
      onDeath: new Set(),
    }),
    kill(process) {
      if (!process.alive) return;
      process.alive = false;
      for (const tell of [...process.onDeath]) tell();
    },
    freeze(process, frozen) {
      process.frozen = frozen;
      if (!frozen) for (const event of process.waiting.splice(0)) if (!event.cancelled) at(nowMs, process, event.action);
    },
    as(process, action) {
      const before = current;
      current = process;
      try {
        return action();
      } finally {
        current = before;
      }
    },
    async run(until) {
      let settled = false;
      const settle = (): void => {
        settled = true;
      };
      until.then(settle, settle);
      await new Promise<void>((resolve) => turn(resolve));
      while (!settled) if (!(await step())) throw new Error("nothing is left that could happen: somebody waits for ever");
      return until;
    },
  };
}

/** A binary heap, earliest first; what came first goes first at the same time. */
function createHeap(): { push(event: SimEvent): void; pop(): SimEvent | undefined } {
  const items: SimEvent[] = [];
  const before = (a: SimEvent, b: SimEvent): boolean => a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order);
  const at = (index: number): SimEvent => items[index] as SimEvent;
  const swap = (a: number, b: number): void => {
    const kept = at(a);
    items[a] = at(b);
    items[b] = kept;
  };
  return {
    push(event) {
      items.push(event);
      for (let child = items.length - 1; child > 0; ) {
        const parent = (child - 1) >> 1;
        if (!before(at(child), at(parent))) return;
        swap(child, parent);
        child = parent;
      }
    },
    pop() {
      const first = items[0];
      const last = items.pop();
      if (first === undefined || last === undefined || items.length === 0) return first;
      items[0] = last;
      for (let parent = 0; ; ) {
        const left = 2 * parent + 1;
        const right = left + 1;
        let least = parent;
        if (left < items.length && before(at(left), at(least))) least = left;
        if (right < items.length && before(at(right), at(least))) least = right;
        if (least === parent) return first;
        swap(parent, least);
        parent = least;
      }
    },
  };
}
