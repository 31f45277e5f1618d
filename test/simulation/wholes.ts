/** Faults of everything that belongs together: a node with its kernel, a mesh that is upgraded part by part. */
import { removePod } from "./kernel.js";
import {
  comeBack,
  cutBoth,
  type Faults,
  here,
  longestWaitMs,
  nodesOf,
  type Playing,
  restartMs,
  running,
  stopPart,
} from "./playing.js";

const downMs = { least: 500, most: 12_000 };
/** A part that was started has to be up by then. */
const startedMs = 10_000;
const pollMs = 50;

export const wholes: Faults = {
  /** Nobody is told: its connections are silent. What comes back has an empty kernel. */
  async nodeDown(state) {
    const { domain, chance, world, faults } = state;
    const { node } = chance.pick(domain.nsmgrs);
    const parts = domain.parts.filter((part) => part.node === node);
    const forGood = mayStayAway(state, node) && chance.next() < 0.4;
    const holdMs = chance.between(downMs.least, downMs.most);
    faults.push(`${node} is down ${forGood ? "for good" : `for ${holdMs} ms`}`);
    turnOff(state, node);
    if (forGood) {
      domain.down.add(node);
      for (const endpoint of domain.endpoints) if (endpoint.node === node) endpoint.gone = true;
      for (const client of domain.clients) if (client.node === node) client.gone = true;
      return;
    }
    await world.sleep(holdMs);
    for (const other of nodesOf(state)) cutBoth(state.network, node, other, false);
    for (const part of chance.shuffle(parts)) {
      comeBack(part);
      await world.sleep(chance.between(0, 300));
    }
  },
};

/** Somebody has to be left, and what it had must not live too long elsewhere. */
function mayStayAway({ domain, plan }: Playing, node: string): boolean {
  const elsewhere = (parts: readonly { readonly node: string }[]): boolean => parts.some((part) => part.node !== node);
  return plan.tokenLifeMs <= longestWaitMs && elsewhere(here(domain.endpoints)) && elsewhere(running(domain.clients));
}

function turnOff(state: Playing, node: string): void {
  const { domain, world, network } = state;
  state.dataFault = true;
  for (const other of nodesOf(state)) if (other !== node) cutBoth(network, node, other, true);
  for (const process of world.processes.values()) if (process.node === node) world.kill(process);
  for (const { netnsUrl } of [...domain.endpoints, ...domain.clients].filter((part) => part.node === node))
    removePod(domain.kernels, netnsUrl);
  const kernel = domain.kernels.all.find((one) => one.node === node);
  kernel?.held.clear();
  kernel?.downLinks.clear();
}

/** Each part in turn ends itself and is started anew, as a rolling upgrade does it. */
export async function upgrade(state: Playing): Promise<void> {
  const { domain, chance, world, faults } = state;
  faults.push("upgrade of registry, managers and forwarders in turn");
  // a client may go elsewhere while a hop of its path is away
  state.planned = true;
  for (const part of chance.shuffle([domain.registry, ...domain.nsmgrs, ...domain.forwarders])) {
    await stopPart(state, part);
    await world.sleep(chance.between(restartMs.least, restartMs.most));
    comeBack(part);
    for (let leftMs = startedMs; part.stop === undefined && leftMs > 0; leftMs -= pollMs) await world.sleep(pollMs);
    await world.sleep(chance.between(0, 1_000));
  }
}
