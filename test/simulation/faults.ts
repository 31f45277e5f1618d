/** What can happen to a domain: each fault by its name, and how it ends. */
import type { DrainAnswer } from "../../sdk/gen/inspect.js";
import { unhealed } from "./invariants.js";
import { takeLinkDown } from "./kernel.js";
import { nsmgrUrl } from "./part.js";
import {
  comeBack,
  type Faults,
  healedMs,
  here,
  killAll,
  longestWaitMs,
  type Playing,
  restartMs,
  running,
  stopPart,
  takePod,
  untilNone,
} from "./playing.js";
import { troubles } from "./troubles.js";
import { upgrade, wholes } from "./wholes.js";

export async function oneFault(state: Playing): Promise<void> {
  state.faultUnderWay = true;
  const makers = state.plan.gentle ? planned : state.plan.alive ? deathless : faultMakers;
  await makers[state.chance.pick(Object.keys(makers))]?.(state);
  state.faultUnderWay = false;
}

/** A drain takes no longer while another endpoint is there. */
const drainedMs = 2_500;

const kills: Faults = {
  async kill(state) {
    await killAll(state, [state.chance.pick(state.domain.parts)]);
  },
  async killTwo(state) {
    await killAll(state, state.chance.shuffle(state.domain.parts).slice(0, 2));
  },
  async killManagers(state) {
    await killAll(state, state.domain.nsmgrs);
  },
  async killEverything(state) {
    await killAll(state, state.domain.parts);
  },
  /** A request is under way through it. */
  async killDuringRequest(state) {
    const { domain, chance, world, faults } = state;
    await newcomer(state);
    await world.sleep(chance.between(0, 40));
    const part = chance.pick([...domain.forwarders, ...domain.nsmgrs, ...here(domain.endpoints)]);
    faults.push("meanwhile:");
    await killAll(state, [part]);
  },
  async killDuringHeal(state) {
    const { chance, world, domain } = state;
    void faultMakers["interfaceDown"]?.(state);
    await world.sleep(chance.between(0, 900));
    await killAll(state, [chance.pick([domain.registry, ...domain.forwarders, ...domain.nsmgrs])]);
  },
  async drainDuringHeal(state) {
    const { chance, world } = state;
    await lost["interfaceDown"]?.(state);
    await world.sleep(chance.between(0, 900));
    await planned["drain"]?.(state);
  },
  async clientGone(state) {
    const { domain, chance, world, faults, plan } = state;
    const clients = running(domain.clients);
    // else what it left would have to be waited for too long
    if (plan.tokenLifeMs > longestWaitMs || clients.length < 2) return;
    const client = chance.pick(clients);
    faults.push(`${client.name} is killed for good`);
    client.gone = true;
    // one that was taken for dead may have what its successor has died with
    for (const { process } of client.former) world.kill(process);
    if (client.process !== undefined) world.kill(client.process);
  },
};

const planned: Faults = {
  newcomer,
  kernelFull,
  upgrade,
  async restart(state) {
    const { domain, chance } = state;
    const part = chance.pick([domain.registry, ...domain.nsmgrs, ...domain.forwarders]);
    state.faults.push(`SIGTERM ${part.name}`);
    await stopPart(state, part);
    await state.world.sleep(chance.between(restartMs.least, restartMs.most));
    comeBack(part);
  },
  async endpointRestart(state) {
    const { domain, chance, world, faults } = state;
    const part = chance.pick(here(domain.endpoints));
    faults.push(`SIGTERM ${part.name}`);
    state.planned = true;
    await stopPart(state, part);
    await world.sleep(chance.between(restartMs.least, restartMs.most));
    comeBack(part);
  },
  async clientRestart(state) {
    const { domain, chance, world, faults } = state;
    const client = chance.pick(running(domain.clients));
    faults.push(`SIGTERM ${client.name}`);
    client.gone = true;
    state.watched.delete(client.name);
    await stopPart(state, client);
    client.granted = false;
    await world.sleep(chance.between(restartMs.least, restartMs.most));
    client.start();
  },
  async drain(state) {
    const { domain, chance, world, network, faults, broken, plan } = state;
    const part = chance.pick(here(domain.endpoints));
    const waitMs = chance.between(0, 4_000);
    faults.push(`${part.name} is drained for ${waitMs} ms`);
    state.planned = true;
    const operator = world.start("operator", part.node);
    const inspect = network.transportOf(operator).createDialer({ dialTimeoutMs: 750 }).inspect(nsmgrUrl(part.node));
    const { signal } = new AbortController();
    const tell = (undo: boolean): Promise<DrainAnswer | undefined> =>
      inspect.drain({ endpoint: part.name, wait_ms: waitMs, undo }, { signal }).catch(() => undefined);
    const left = (await tell(false))?.connections_left ?? 0;
    if (plan.gentle && waitMs > drainedMs && left > 0 && here(domain.endpoints).length > 1)
      broken.push(`${left} connections are left after ${part.name} was drained for ${waitMs} ms`);
    await world.sleep(chance.between(0, 2_000));
    await tell(true);
    world.kill(operator);
  },
};

/** A newcomer's connection cannot be built on one node: nothing of it may stay elsewhere. */
async function kernelFull(state: Playing): Promise<void> {
  const { domain, chance, world, faults } = state;
  const kernel = chance.pick(domain.kernels.all);
  const holdMs = chance.between(200, 3_000);
  faults.push(`the kernel of ${kernel.node} is full for ${holdMs} ms`);
  kernel.isFull = true;
  await newcomer(state);
  await world.sleep(holdMs);
  kernel.isFull = false;
}

const lost: Faults = {
  async podGone(state) {
    const { domain, chance, world, faults } = state;
    const part = chance.pick(here(domain.endpoints));
    faults.push(`pod of ${part.name} is gone`);
    takePod(state, part);
    await world.sleep(chance.between(500, 5_000));
    comeBack(part);
  },
  async endpointAway(state) {
    const { domain, chance, world, faults, broken } = state;
    if (here(domain.endpoints).length < 2) return;
    const part = chance.pick(here(domain.endpoints));
    faults.push(`pod of ${part.name} is gone until nobody misses it`);
    takePod(state, part);
    if (!(await untilNone(world, () => unhealed(domain), healedMs))) {
      broken.push(...unhealed(domain).map((what) => `${healedMs} ms after ${part.name} went: ${what}`));
    }
    comeBack(part);
  },
  async endpointGone(state) {
    const { domain, chance, faults } = state;
    const endpoints = here(domain.endpoints);
    if (endpoints.length < 2) return;
    const part = chance.pick(endpoints);
    faults.push(`${part.name} is gone for good`);
    takePod(state, part);
    part.gone = true;
  },
  /** It hangs, is believed dead, and another one takes its name; then it comes to itself. */
  async endpointReplaced(state) {
    const { domain, chance, world, faults, plan } = state;
    const old = chance.pick(here(domain.endpoints));
    // one that has not registered yet is not of the past when it does
    if (old.process?.alive !== true || old.serving === undefined || old.ended) return;
    const next = domain.replace(old, chance.between(0, plan.nodes - 1));
    const holdMs = chance.between(1_000, 6_000);
    faults.push(`${old.name} hangs and is replaced on ${next.node}; it goes on after ${holdMs} ms`);
    // its clients are led to the new pod, as if the old one were dead
    state.dataFault = true;
    world.freeze(old.process, true);
    await world.sleep(chance.between(0, 1_000));
    comeBack(next);
    await world.sleep(holdMs);
    world.freeze(old.process, false);
  },
  async clientReplaced(state) {
    const { domain, chance, world, faults } = state;
    const [client] = chance.shuffle(running(domain.clients));
    if (client === undefined) return;
    const { process, connection } = client;
    if (process === undefined || !process.alive || process.frozen || connection === undefined) return;
    const holdMs = chance.between(500, 6_000);
    faults.push(`${client.name} hangs and is replaced; it goes on after ${holdMs} ms`);
    world.freeze(process, true);
    client.former.push({ process, connection, over: false });
    client.start();
    await world.sleep(holdMs);
    world.freeze(process, false);
    // both are told to move
    if (chance.next() < 0.5) await planned["drain"]?.(state);
  },
  /** Its control plane goes on: only the probes can tell. */
  async endpointDeaf(state) {
    const { domain, chance, world, faults, broken, plan } = state;
    if (here(domain.endpoints).length < 2 || !plan.probe) return;
    const { name, netnsUrl } = chance.pick(here(domain.endpoints));
    // a check without an end of its own tells of the end of what it has come through by
    if (plan.probeHangs) {
      await untilNone(world, () => unhealed(domain), healedMs);
      await world.sleep(1_000);
    }
    faults.push(`packets to ${name} vanish until nobody sends any`);
    state.dataFault = true;
    domain.kernels.deaf.add(netnsUrl);
    if (!(await untilNone(world, () => unhealed(domain), healedMs)))
      broken.push(...unhealed(domain).map((what) => `${healedMs} ms after ${name} went deaf: ${what}`));
    domain.kernels.deaf.delete(netnsUrl);
  },
  async interfaceDown(state) {
    const client = state.chance.pick(running(state.domain.clients));
    state.faults.push(`interface of ${client.name} goes down`);
    state.dataFault = true;
    takeLinkDown(state.domain.kernels, client.netnsUrl, client.interfaceName);
  },
};

const { registryRollback: _older, registryLost: _lost, ...live } = troubles;
/** Whatever gets lost, those who know of it live: what was built in vain is closed, not left to expire. */
const deathless: Faults = { ...planned, ...live, ...only(lost, ["interfaceDown", "endpointDeaf"]) };

function only(faults: Faults, names: readonly string[]): Faults {
  return Object.fromEntries(Object.entries(faults).filter(([name]) => names.includes(name)));
}

/** Two that begin in the same millisecond, or one in the middle of the other. */
const together: Faults = {
  async twoAtOnce(state) {
    const { chance, faults } = state;
    // a client that starts while nothing comes back from its endpoint takes its probe for the culprit: by design (sdk/client/keep.ts)
    const { endpointDeaf: _deaf, ...others } = lost;
    const single = { ...kills, ...others, ...troubles, ...wholes };
    const [one = "kill", other = "kill"] = chance.shuffle(Object.keys(single));
    faults.push("both at once:");
    await Promise.all([single[one]?.(state), single[other]?.(state)]);
  },
  async duringDrain(state) {
    const { chance, faults, world, domain } = state;
    const drained = planned["drain"]?.(state);
    await world.sleep(chance.between(0, 1_500));
    faults.push("meanwhile:");
    const killed = (): Promise<void> => killAll(state, [chance.pick([...domain.forwarders, ...domain.nsmgrs, domain.registry])]);
    const other = chance.pick([killed, troubles["freeze"], lost["interfaceDown"], lost["podGone"]]);
    await Promise.all([drained, other?.(state)]);
  },
};

const faultMakers: Faults = { ...kills, ...planned, ...lost, ...troubles, ...wholes, ...together };

/** One of the clients that nobody has started yet. */
async function newcomer({ domain, chance, faults }: Playing): Promise<void> {
  const waiting = domain.clients.filter(({ process, node }) => process === undefined && !domain.down.has(node));
  if (waiting.length === 0) return;
  const client = chance.pick(waiting);
  faults.push(`${client.name} comes`);
  client.start();
}
