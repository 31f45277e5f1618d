/**
 * Virtual time: everything that happens is an event with a time and an owner, and happens in an order that the seed alone
 * decides. Between two events all promises settle, so code that runs in an event of one process never runs in another's.
 */
import { type Chance, createChance } from "../../cli/chaos/random.js";
import { firstPid } from "./globals.js";

export interface SimProcess {
  readonly name: string;
  readonly node: string;
  readonly pid: number;
  /** Since the world began. */
  readonly bornMs: number;
  alive: boolean;
  /** Stopped (SIGSTOP): its events wait. */
  frozen: boolean;
  readonly waiting: SimEvent[];
  /** What its wall clock shows more than the world's. */
  clockOffsetMs: number;
  /** Its processor is taken: so long each of its events keeps it busy, and the next one waits. */
  eventCostMs: number;
  busyUntilMs: number;
  /** Told when it dies: connections to it break. */
  readonly onDeath: Set<() => void>;
}

export interface SimEvent {
  timeMs: number;
  order: number;
  readonly owner: SimProcess | undefined;
  readonly action: () => void;
  /** The timer's place in the code, for what was armed by its owner; the rest is what the network and the director do. */
  readonly armedAt: { readonly stack?: string } | undefined;
  cancelled: boolean;
}

export interface World {
  readonly chance: Chance;
  /** In whose event we are; undefined = the director's. */
  readonly current: SimProcess | undefined;
  nowMs(): number;
  at(timeMs: number, owner: SimProcess | undefined, action: () => void, armedAt?: SimEvent["armedAt"]): SimEvent;
  sleep(durationMs: number): Promise<void>;
  start(name: string, node: string): SimProcess;
  kill(process: SimProcess): void;
  freeze(process: SimProcess, frozen: boolean): void;
  /** Runs `action` as this process, now. */
  as<T>(process: SimProcess | undefined, action: () => T): T;
  /** Lets events happen until the promise settles. @throws Error when nothing is left that could happen */
  run<T>(until: Promise<T>): Promise<T>;
  readonly events: number;
  /** Every process that there ever was, by its number. */
  readonly processes: ReadonlyMap<number, SimProcess>;
  /** Timers that are armed, by who armed them; only of living processes. */
  timers(): ReadonlyMap<SimProcess, readonly SimEvent[]>;
}

const turn = globalThis.setImmediate;
/**
 * Lets all promises settle, and what waits for the next tick, without a turn of the machine's loop: that costs more than most
 * events do. Node has it without documentation.
 */
const settle = (process as unknown as { _tickCallback(): void })._tickCallback;
const eventsPerTurn = 500;
/** An ordinary date, so that times in messages look like times. */
const startMs = Date.UTC(2030, 0, 1);

export function createWorld(seed: number): World {
  const chance = createChance(seed);
  const heap = createHeap();
  let nowMs = startMs;
  let order = 0;
  let current: SimProcess | undefined;
  let events = 0;
  const processes = new Map<number, SimProcess>();

  function at(timeMs: number, owner: SimProcess | undefined, action: () => void, armedAt?: SimEvent["armedAt"]): SimEvent {
    const event: SimEvent = { timeMs: Math.max(timeMs, nowMs), order: order++, owner, action, armedAt, cancelled: false };
    heap.push(event);
    return event;
  }

  /** Puts it back: the event itself, which its owner may still cancel. Those that wait keep their order. */
  function later(event: SimEvent, timeMs: number): void {
    Object.assign(event, { timeMs, order: order++ });
    heap.push(event);
  }

  function step(): boolean {
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
    if (owner !== undefined && owner.busyUntilMs > nowMs) {
      later(event, owner.busyUntilMs);
      return true;
    }
    if (owner !== undefined && owner.eventCostMs > 0) owner.busyUntilMs = nowMs + owner.eventCostMs;
    current = owner;
    events++;
    event.action();
    settle();
    current = undefined;
    return true;
  }

  /** As many events as a turn of the machine's loop may hold; the rest comes in the next one. */
  function steps(isOver: () => boolean): boolean {
    for (let left = eventsPerTurn; left > 0 && !isOver(); left--) if (!step()) return false;
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
    processes,
    timers: () => heap.byOwner(),
    start(name, node) {
      const process: SimProcess = {
        name,
        node,
        pid: firstPid + processes.size,
        bornMs: nowMs - startMs,
        alive: true,
        frozen: false,
        waiting: [],
        clockOffsetMs: 0,
        eventCostMs: 0,
        busyUntilMs: 0,
        onDeath: new Set(),
      };
      processes.set(process.pid, process);
      return process;
    },
    kill(process) {
      if (!process.alive) return;
      process.alive = false;
      for (const tell of [...process.onDeath]) tell();
    },
    freeze(process, frozen) {
      process.frozen = frozen;
      if (!frozen) for (const event of process.waiting.splice(0)) later(event, nowMs);
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
      let isOver = false;
      const end = (): void => {
        isOver = true;
      };
      until.then(end, end);
      while (!isOver) {
        const isLeft = await new Promise<boolean>((resolve, reject) => {
          turn(() => {
            try {
              resolve(steps(() => isOver));
            } catch (error) {
              reject(error);
            }
          });
        });
        if (!isLeft) throw new Error("nothing is left that could happen: somebody waits for ever");
      }
      return until;
    },
  };
}

/** A binary heap, earliest first; what came first goes first at the same time. */
function createHeap(): {
  push(event: SimEvent): void;
  pop(): SimEvent | undefined;
  byOwner(): ReadonlyMap<SimProcess, readonly SimEvent[]>;
} {
  const items: SimEvent[] = [];
  const before = (a: SimEvent, b: SimEvent): boolean => a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order);
  const at = (index: number): SimEvent => items[index] as SimEvent;
  const swap = (a: number, b: number): void => {
    const kept = at(a);
    items[a] = at(b);
    items[b] = kept;
  };
  return {
    byOwner() {
      const found = new Map<SimProcess, SimEvent[]>();
      for (const event of items) {
        const { owner, armedAt, cancelled } = event;
        if (armedAt === undefined || !owner?.alive || cancelled) continue;
        const list = found.get(owner);
        if (list === undefined) found.set(owner, [event]);
        else list.push(event);
      }
      return found;
    },
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
