/** Faults of networks, clocks and processes that live, and of what the registry has stored. */
import type { Snapshot } from "./domain.js";
import { comeBack, cutBoth, type Faults, nodesOf, type Playing, restartMs } from "./playing.js";

export const troubles: Faults = {
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
  async partition(state) {
    const { chance, network, world, faults } = state;
    const [one = "", other = ""] = chance.shuffle(nodesOf(state));
    const holdMs = chance.between(200, 8_000);
    faults.push(`${one} and ${other} do not hear each other for ${holdMs} ms`);
    if (one !== "registry" && other !== "registry") state.dataFault = true;
    cutBoth(network, one, other, true);
    await world.sleep(holdMs);
    cutBoth(network, one, other, false);
  },
  /** What one sends arrives, and what it is answered does not. */
  async oneWay(state) {
    const { chance, network, world, faults } = state;
    const [one = "", other = ""] = chance.shuffle(nodesOf(state));
    const holdMs = chance.between(200, 8_000);
    faults.push(`${one} does not hear ${other} for ${holdMs} ms, which hears it`);
    if (one !== "registry" && other !== "registry") state.dataFault = true;
    network.wire.cut(other, one, true);
    await world.sleep(holdMs);
    network.wire.cut(other, one, false);
  },
  /** Calls are worked on twice, at the same time. */
  async twice({ chance, network, world, faults }) {
    const holdMs = chance.between(1_000, 12_000);
    network.twiceShare = chance.between(5, 60) / 100;
    faults.push(`${network.twiceShare} of calls arrive twice, for ${holdMs} ms`);
    await world.sleep(holdMs);
    network.twiceShare = 0;
  },
  /** It gets little of its processor: everything it does comes late, and late timers come together. */
  async slow({ domain, chance, world, faults }) {
    const { process, name } = chance.pick(domain.parts);
    if (process === undefined) return;
    const holdMs = chance.between(1_000, 6_000);
    process.eventCostMs = chance.pick([2, 5, 15, 40]);
    faults.push(`${name} needs ${process.eventCostMs} ms for everything it does, for ${holdMs} ms`);
    await world.sleep(holdMs);
    process.eventCostMs = 0;
  },
  async badNetwork({ chance, network, world, faults }) {
    const holdMs = chance.between(1_000, 8_000);
    network.lossShare = chance.between(1, 40) / 100;
    network.wire.extraLatencyMs = chance.pick([0, 5, 50, 400]);
    faults.push(`${network.lossShare} of calls break, ${network.wire.extraLatencyMs} ms more, for ${holdMs} ms`);
    await world.sleep(holdMs);
    network.lossShare = 0;
    network.wire.extraLatencyMs = 0;
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
  /** It is set to and fro, also between a question and its answer. */
  async clockToAndFro({ domain, chance, world, faults }) {
    const { process, name } = chance.pick(domain.parts);
    if (process === undefined) return;
    const steps = Array.from({ length: chance.between(3, 12) }, () => chance.pick([-1, 1]) * chance.between(100, 6_000));
    faults.push(`clock of ${name} is off by ${steps.join(", ")} ms in turn`);
    for (const step of steps) {
      process.clockOffsetMs = step;
      await world.sleep(chance.between(50, 1_500));
    }
    process.clockOffsetMs = 0;
  },
  /** Somebody sets a clock, for good. */
  async clockStep({ domain, chance, faults }) {
    const part = chance.pick(domain.parts);
    if (part.process === undefined) return;
    part.process.clockOffsetMs = chance.pick([-1, 1]) * chance.between(500, 5_000);
    faults.push(`clock of ${part.name} is set by ${part.process.clockOffsetMs} ms`);
  },
  /** It is restored from a copy that does not know what came since, and knows what has gone. */
  async registryRollback(state) {
    if (state.snapshot === undefined) return;
    state.faults.push("the registry's store is put back to an older state");
    await restore(state, state.snapshot);
  },
  /** Its disk is lost. */
  async registryLost(state) {
    state.faults.push("the registry is lost with its store");
    await restore(state, { services: [], endpoints: [] });
  },
};

async function restore(state: Playing, snapshot: Snapshot): Promise<void> {
  const { domain, chance, world } = state;
  if (domain.registry.process !== undefined) world.kill(domain.registry.process);
  domain.registry.rollBack(snapshot);
  await world.sleep(chance.between(restartMs.least, restartMs.most));
  comeBack(domain.registry);
}
