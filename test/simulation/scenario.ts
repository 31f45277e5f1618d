/** One seed: a domain is started, faults happen to it, it comes to rest, it is taken down; the invariants are checked all along. */
import { type Chance, createChance } from "../../cli/chaos/random.js";
import { createDomain, type Domain } from "./domain.js";
import { enterWorld } from "./globals.js";
import { brokenNow, unconverged, unhealed } from "./invariants.js";
import { linkName, removePod } from "./kernel.js";
import { createNetwork, type Network } from "./network.js";
import type { DomainPlan, Part } from "./part.js";
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
const limits = { connected: 60_000, healed: 12_000, gone: 15_000 };
const longestWaitMs = 60_000;
const pollMs = 100;
/** A supervisor starts what has ended after so long. */
const restartMs = { least: 250, most: 2_500 };

export async function play(seed: number, log?: (world: World) => DomainPlan["log"]): Promise<Outcome> {
  const world = createWorld(seed);
  enterWorld(world);
  const network = createNetwork(world);
  // the faults do not depend on how much chance the components use up
  const chance = createChance(seed ^ 0x5eed);
  const plan = planOf(chance);
  const told = log?.(world);
  const domain = createDomain(world, network, told === undefined ? plan : { ...plan, log: told });
  const broken: string[] = [];
  const faults: string[] = [];
  const state: Playing = { world, network, domain, chance, plan, broken, faults, dataFault: false, watched: new Map() };
  watchKernels(state);
  try {
    await world.run(act(state));
  } catch (error) {
    broken.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    domain.end();
  }
  const heard = domain.clients.map(({ changes }) => changes.map(({ kind }) => kind).join(","));
  return {
    seed,
    broken: [...new Set(broken)],
    faults,
    events: world.events,
    fingerprint: `${world.events} ${world.nowMs()} ${heard.join(";")}`,
  };
}

interface Playing {
  readonly world: World;
  readonly network: Network;
  readonly domain: Domain;
  readonly chance: Chance;
  readonly plan: DomainPlan;
  readonly broken: string[];
  readonly faults: string[];
  /** Something happened that packets cannot survive; until then none may be lost. */
  dataFault: boolean;
  /** Clients that have had a data path. */
  readonly watched: Map<string, string>;
}

function planOf(chance: Chance): DomainPlan {
  const nodes = chance.pick([1, 2, 2, 3]);
  const somewhere = (count: number): number[] => Array.from({ length: count }, () => chance.between(0, nodes - 1));
  return {
    nodes,
    endpoints: somewhere(chance.between(2, 3)),
    clients: somewhere(chance.between(1, 4)),
    durableRegistry: chance.next() < 0.5,
    tokenLifeMs: chance.pick([30_000, 60_000, 600_000]),
  };
}

function watchKernels(state: Playing): void {
  const { domain, broken, world } = state;
  domain.kernels.onChange = (kernel, id) => {
    broken.push(...brokenNow(domain));
    for (const client of domain.clients) {
      if (client.gone) continue;
      const at = domain.alive(client);
      const before = state.watched.get(client.name);
      if (at !== undefined) state.watched.set(client.name, at);
      if (before !== undefined && at !== before && !state.dataFault) {
        broken.push(
          `the data path of ${client.name} to ${before} was cut by a change of ${id} on ${kernel.node}, by ${world.current?.name}, though no fault touched it`,
        );
      }
    }
  };
}

async function act(state: Playing): Promise<void> {
  const { world, domain, chance, broken } = state;
  for (const part of chance.shuffle(domain.parts.slice(0, -domain.clients.length))) {
    part.start();
    await world.sleep(chance.between(0, 300));
  }
  for (const client of domain.clients) client.start();
  if (!(await untilNone(world, () => unhealed(domain), limits.connected))) {
    broken.push(...unhealed(domain).map((what) => `at the start: ${what}`));
    return;
  }
  for (let left = chance.between(1, 5); left > 0; left--) {
    await oneFault(state);
    await world.sleep(chance.between(0, 6_000));
  }
  if (!(await untilNone(world, () => unhealed(domain), limits.healed))) {
    broken.push(...unhealed(domain).map((what) => `${limits.healed} ms after the last fault: ${what}`));
  }
  const settleMs = state.plan.tokenLifeMs + limits.gone;
  if (!(await untilNone(world, () => unconverged(domain), settleMs))) {
    broken.push(...unconverged(domain).map((what) => `at rest: ${what}`));
  }
  state.dataFault = true;
  await Promise.all(domain.clients.map((client) => stopPart(state, client)));
  for (const client of domain.clients) client.connection = undefined;
  if (!(await untilNone(world, () => unconverged(domain), limits.gone))) {
    broken.push(...unconverged(domain).map((what) => `after the last client: ${what}`));
  }
}

async function untilNone(world: World, look: () => readonly string[], timeoutMs: number): Promise<boolean> {
  const endMs = world.nowMs() + timeoutMs;
  while (look().length > 0) {
    if (world.nowMs() > endMs) return false;
    await world.sleep(pollMs);
  }
  return true;
}

const faultMakers: Readonly<Record<string, (state: Playing) => Promise<void>>> = {
  async kill(state) {
    const parts = [state.chance.pick(state.domain.parts)];
    await killAll(state, parts);
  },
  async killTwo(state) {
    await killAll(state, state.chance.shuffle(state.domain.parts).slice(0, 2));
  },
  async killEverything(state) {
    await killAll(state, state.domain.parts);
  },
  async clientGone(state) {
    const { domain, chance, world, faults, plan } = state;
    const client = chance.pick(domain.clients);
    // else what it left would have to be waited for too long
    if (plan.tokenLifeMs > longestWaitMs || domain.clients.filter(({ gone }) => !gone).length < 2) return;
    faults.push(`${client.name} is killed for good`);
    client.gone = true;
    if (client.process !== undefined) world.kill(client.process);
  },
  async restart(state) {
    const { domain, chance } = state;
    const part = chance.pick([domain.registry, ...domain.nsmgrs, ...domain.forwarders]);
    state.faults.push(`SIGTERM ${part.name}`);
    await stopPart(state, part);
    await state.world.sleep(chance.between(restartMs.least, restartMs.most));
    part.start();
  },
  async freeze({ domain, chance, world, faults }) {
    const part = chance.pick(domain.parts);
    const { process } = part;
    if (process === undefined || !process.alive) return;
    const holdMs = chance.between(100, 6_000);
    faults.push(`SIGSTOP ${part.name} for ${holdMs} ms`);
    world.freeze(process, true);
    await world.sleep(holdMs);
    world.freeze(process, false);
  },
  async podGone(state) {
    const { domain, chance, world, faults } = state;
    const part = chance.pick(domain.endpoints);
    faults.push(`pod of ${part.name} is gone`);
    state.dataFault = true;
    if (part.process !== undefined) world.kill(part.process);
    removePod(domain.kernels, part.netnsUrl);
    await world.sleep(chance.between(500, 5_000));
    part.start();
  },
  async endpointAway(state) {
    const { domain, chance, world, faults, broken } = state;
    const part = chance.pick(domain.endpoints);
    faults.push(`pod of ${part.name} is gone until nobody misses it`);
    state.dataFault = true;
    if (part.process !== undefined) world.kill(part.process);
    removePod(domain.kernels, part.netnsUrl);
    if (!(await untilNone(world, () => unhealed(domain), limits.healed))) {
      broken.push(...unhealed(domain).map((what) => `${limits.healed} ms after ${part.name} went: ${what}`));
    }
    part.start();
  },
  async interfaceDown(state) {
    const client = state.chance.pick(state.domain.clients);
    state.faults.push(`interface of ${client.name} goes down`);
    state.dataFault = true;
    for (const { downLinks } of state.domain.kernels.all) {
      downLinks.add(linkName({ netnsUrl: client.netnsUrl, interfaceName: client.interfaceName } as never));
    }
  },
  async partition(state) {
    const { chance, network, world, faults, plan } = state;
    const nodes = ["registry", ...Array.from({ length: plan.nodes }, (_, index) => `node-${index + 1}`)];
    const [one = "", other = ""] = chance.shuffle(nodes);
    const holdMs = chance.between(200, 8_000);
    faults.push(`${one} and ${other} do not hear each other for ${holdMs} ms`);
    if (one !== "registry" && other !== "registry") state.dataFault = true;
    network.cut(one, other, true);
    await world.sleep(holdMs);
    network.cut(one, other, false);
  },
  async badNetwork({ chance, network, world, faults }) {
    const holdMs = chance.between(1_000, 8_000);
    network.lossShare = chance.between(1, 40) / 100;
    network.extraLatencyMs = chance.pick([0, 5, 50, 400]);
    faults.push(`${network.lossShare} of calls break, ${network.extraLatencyMs} ms more, for ${holdMs} ms`);
    await world.sleep(holdMs);
    network.lossShare = 0;
    network.extraLatencyMs = 0;
  },
  async clock({ domain, chance, world, faults }) {
    const { process, name } = chance.pick(domain.parts);
    if (process === undefined) return;
    const holdMs = chance.between(200, 4_000);
    process.clockOffsetMs = chance.pick([-1, 1]) * chance.between(1_000, 8_000);
    faults.push(`clock of ${name} is off by ${process.clockOffsetMs} ms for ${holdMs} ms`);
    await world.sleep(holdMs);
    process.clockOffsetMs = 0;
  },
};

async function oneFault(state: Playing): Promise<void> {
  await faultMakers[state.chance.pick(Object.keys(faultMakers))]?.(state);
}

async function killAll(state: Playing, parts: readonly Part[]): Promise<void> {
  const { world, chance, faults, domain } = state;
  faults.push(`kill -9 ${parts.map(({ name }) => name).join(", ")}`);
  for (const { process } of parts) if (process !== undefined) world.kill(process);
  await world.sleep(chance.between(restartMs.least, restartMs.most));
  for (const part of chance.shuffle(parts)) {
    const isGone = domain.clients.some((client) => client === part && client.gone);
    if (!part.process?.alive && !isGone) part.start();
    await world.sleep(chance.between(0, 200));
  }
}

/** As SIGTERM: it ends itself, in its own time. */
async function stopPart({ world }: Playing, part: Part): Promise<void> {
  const { process, stop } = part;
  if (process === undefined) return;
  if (stop !== undefined) {
    await new Promise<void>((resolve) => {
      const limit = world.at(world.nowMs() + 10_000, undefined, resolve);
      world.at(world.nowMs(), process, () => {
        void stop()
          .catch(() => {})
          .then(() =>
            world.at(world.nowMs(), undefined, () => {
              limit.cancelled = true;
              resolve();
            }),
          );
      });
    });
  }
  world.kill(process);
}
