/** Invariants that are looked at whenever something changes. */

import { brokenNow, userOf } from "./invariants.js";
import { ipamOf, onRelease } from "./observe-ipam.js";
import type { Playing } from "./playing.js";

/** An address that is given back while packets still use it has to be missed by then: its connection is ending. */
const endingMs = 3_000;

/** Packets: nobody's path is cut but by a fault that cuts it. */
export function watchKernels(state: Playing): void {
  const { domain, broken, world } = state;
  domain.kernels.onChange = (kernel, id) => {
    broken.push(...brokenNow(domain));
    for (const client of domain.clients) {
      if (client.gone) continue;
      const at = domain.alive(client);
      const before = state.watched.get(client.name);
      if (at !== undefined) state.watched.set(client.name, at);
      if (before === undefined || at === before || (state.dataFault && !state.calm)) continue;
      if (at !== undefined && state.planned && !state.calm) continue;
      broken.push(
        `the data path of ${client.name} to ${before} was cut by a change of ${id} on ${kernel.node}, by ${world.current?.name}, though no fault touched it`,
      );
    }
  };
}

/** Addresses: what is given back is not in use any more. */
export function watchLeases(state: Playing): void {
  const { world, domain, broken } = state;
  onRelease((process, connectionId) => {
    world.at(world.nowMs() + endingMs, undefined, () => {
      const again = [...(ipamOf(process)?.leases() ?? [])].some(([id]) => id === connectionId);
      if (!process.alive || state.faultUnderWay || again) return;
      const pod = domain.endpoints.find((endpoint) => endpoint.process === process)?.netnsUrl ?? "";
      const client = userOf(domain, connectionId, pod);
      if (client !== undefined && !client.gone)
        broken.push(`${process.name} has given back the addresses of ${client.name}, which uses them`);
    });
  });
}

/** The registry: what lives stays in it. */
export function watchEntries(state: Playing): void {
  const { domain, broken } = state;
  domain.registry.stores?.endpoints.table.subscribe(({ previous, next }) => {
    if (state.calm && previous !== undefined && next === undefined)
      broken.push(`while nothing happened: the registry has lost ${previous.name}`);
  });
}
