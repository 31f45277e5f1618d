/** One seed: a domain is started, faults happen to it, it comes to rest, it is taken down; the invariants are checked all along. */
import { type Chance, createChance } from "../../cli/chaos/random.js";
import { heldNumbers, unfenced, wrongEntries, wrongLeases, wrongLookUps, wrongNames } from "./at-rest.js";
import { createDomain, type Domain } from "./domain.js";
import { oneFault } from "./faults.js";
import { createFlat } from "./flat.js";
import { enterWorld } from "./globals.js";
import { unconverged, unhealed } from "./invariants.js";
import { createNetwork } from "./network.js";
import type { DomainPlan } from "./part.js";
import { healedMs, type Playing, stopPart, untilNone } from "./playing.js";
import { watchCloses, watchEntries, watchKernels, watchLeases, watchTurns } from "./watches.js";
import { createWorld, type World } from "./world.js";

export interface Outcome {
  readonly seed: number;
  /** Empty: every invariant held. */
  readonly broken: readonly string[];
  readonly faults: readonly string[];
  readonly events: number;
  /** Equal for equal runs. */
  readonly fingerprint: string;
}

/** Virtual time, in milliseconds. */
const limits = { connected: 60_000, newcomer: 5_000, gone: 15_000, calm: 40_000, look: 100, flat: 60_000, closed: 60_000 };
/** Lives of tokens up to this can be watched to their ends. */
const shortLifeMs = 30_000;

export async function play(seed: number, log?: (world: World) => DomainPlan["log"]): Promise<Outcome> {
  const world = createWorld(seed);
  enterWorld(world);
  const told = log?.(world);
  const network = createNetwork(world, told?.("calls"));
  // the faults do not depend on how much chance the components use up
  const chance = createChance(seed ^ 0x5eed);
  const plan = { ...planOf(chance), probeHangs: createChance(seed ^ 0x4a6).next() < 0.3 };
  const domain = createDomain(world, network, told === undefined ? plan : { ...plan, log: told });
  const state: Playing = {
    world,
    network,
    domain,
    chance,
    plan,
    broken: [],
    faults: [],
    dataFault: false,
    planned: false,
    faultUnderWay: false,
    calm: false,
    watched: new Map(),
    snapshot: undefined,
    flat: createFlat(world, network, domain),
  };
  watchKernels(state);
  watchTurns(state);
  watchCloses(state);
  try {
    await world.run(act(state));
  } catch (error) {
    state.broken.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    domain.end();
  }
  const heard = domain.clients.map(({ changes }) => changes.map(({ kind }) => kind).join(","));
  return {
    seed,
    broken: [...new Set(state.broken)],
    faults: state.faults,
    events: world.events,
    fingerprint: `${world.events} ${world.nowMs()} ${heard.join(";")}`,
  };
}

function planOf(chance: Chance): Omit<DomainPlan, "probeHangs"> {
  const nodes = chance.pick([1, 2, 2, 3]);
  const somewhere = (count: number): number[] => Array.from({ length: count }, () => chance.between(0, nodes - 1));
  const clients = somewhere(chance.between(1, 4));
  const kind = chance.next();
  return {
    nodes,
    endpoints: somewhere(chance.between(2, 3)),
    clients,
    late: chance.between(0, Math.min(2, clients.length - 1)),
    durableRegistry: chance.next() < 0.5,
    tokenLifeMs: chance.pick([shortLifeMs, 60_000, 600_000]),
    gentle: kind < 0.25,
    probe: chance.next() >= 0.15,
    alive: kind >= 0.25 && kind < 0.45,
  };
}

async function act(state: Playing): Promise<void> {
  const { world, domain, chance, broken, plan } = state;
  const parts = [domain.registry, ...domain.nsmgrs, ...domain.forwarders, ...domain.endpoints];
  watchLeases(state);
  for (const part of chance.shuffle(parts)) {
    part.start();
    await world.sleep(chance.between(0, 300));
  }
  await beforeClients(state);
  for (const client of domain.clients.slice(0, domain.clients.length - plan.late)) client.start();
  if (!(await untilNone(world, () => unhealed(domain), limits.connected))) {
    broken.push(...unhealed(domain).map((what) => `at the start: ${what}`));
    return;
  }
  state.snapshot = domain.registry.snapshot();
  for (let left = chance.between(1, 5); left > 0; left--) {
    await oneFault(state);
    await world.sleep(chance.between(0, 6_000));
  }
  if (!(await untilNone(world, () => unhealed(domain), healedMs))) {
    broken.push(...unhealed(domain).map((what) => `${healedMs} ms after the last fault: ${what}`));
  }
  // Whoever is well loses no packet any more, whatever comes late; a drain may still move him. But an endpoint that was replaced waits
  // for its clients to go, and then ends with those that have not found another one.
  if (await untilNone(world, () => [...unfenced(domain), ...unhealed(domain)], limits.gone)) {
    state.dataFault = false;
    state.planned = true;
  }
  await rest(state);
  await takeDown(state);
}

/** What the processes have without clients is what they are to have afterwards. */
async function beforeClients({ world, domain, flat, broken }: Playing): Promise<void> {
  if (!(await untilNone(world, () => wrongEntries(domain, world), limits.connected))) {
    broken.push(...wrongEntries(domain, world).map((what) => `before the first client: ${what}`));
    return;
  }
  for (let looks = 5; looks > 0; looks--) {
    await world.sleep(limits.look);
    flat.look();
  }
}

async function rest(state: Playing): Promise<void> {
  const { world, domain, broken, network, chance, plan } = state;
  // what nobody could be told of goes when it expires; a planned end tells everybody
  const settleMs = plan.gentle ? limits.gone : plan.alive ? limits.closed : plan.tokenLifeMs + limits.gone;
  // in the order of their costs: while the first are wrong nobody asks for the others
  const looks = [unconverged, wrongNames, unfenced, (one: Domain) => wrongEntries(one, world), wrongLeases];
  const wrong = (): readonly string[] => looks.map((look) => () => look(domain)).reduce(orElse, [] as readonly string[]);
  if (!(await untilNone(world, wrong, settleMs)))
    broken.push(...looks.flatMap((look) => look(domain)).map((what) => `at rest: ${what}`));
  let found = await wrongLookUps(domain, world, network);
  for (let tries = 5; found.length > 0 && tries > 0; tries--) {
    await world.sleep(1_000);
    found = await wrongLookUps(domain, world, network);
  }
  broken.push(...found.map((what) => `at rest: ${what}`));
  if (plan.tokenLifeMs > shortLifeMs || chance.next() < 0.5) return;
  state.calm = true;
  watchEntries(state);
  const before = domain.clients.map(({ changes }) => changes.length);
  await world.sleep(limits.calm);
  for (const [index, { name, changes }] of domain.clients.entries())
    for (const { kind } of changes.slice(before[index])) broken.push(`while nothing happened: ${name} told of "${kind}"`);
  broken.push(...unhealed(domain).map((what) => `while nothing happened: ${what}`));
  state.calm = false;
}

function orElse(found: readonly string[], look: () => readonly string[]): readonly string[] {
  return found.length > 0 ? found : look();
}

async function takeDown(state: Playing): Promise<void> {
  const { world, domain, broken, flat } = state;
  for (const client of domain.clients) if (client.process === undefined && !domain.down.has(client.node)) client.start();
  if (!(await untilNone(world, () => unhealed(domain), limits.newcomer)))
    broken.push(...unhealed(domain).map((what) => `${limits.newcomer} ms after a newcomer at rest: ${what}`));
  state.dataFault = true;
  await Promise.all(domain.clients.map((client) => stopPart(state, client)));
  for (const client of domain.clients) client.gone = true;
  const left = (): string[] => [...unconverged(domain), ...wrongLeases(domain), ...heldNumbers(domain)];
  if (!(await untilNone(world, left, limits.gone))) broken.push(...left().map((what) => `after the last client: ${what}`));
  if (!(await untilNone(world, () => flat.more(), limits.flat))) broken.push(...flat.more().map((what) => `not flat: ${what}`));
}
