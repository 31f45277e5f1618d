/** Invariants that are looked at whenever something changes. */

import type { Connection } from "../../sdk/gen/connection.js";
import type { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { nextSegment } from "../../sdk/path.js";
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
      // what was built for a request that came to nothing was nobody's path
      if (!client.granted) continue;
      if (before === undefined || at === before || (state.dataFault && !state.calm)) continue;
      if (at !== undefined && state.planned && !state.calm) continue;
      broken.push(
        `the data path of ${client.name} to ${before} was cut by a change of ${id} on ${kernel.node}, by ${world.current?.name}, though no fault touched it`,
      );
    }
  };
}

/** One thing at a time for each connection. */
export function watchTurns({ domain, broken }: Playing): void {
  domain.kernels.onOverlap = (kernel, id) => {
    broken.push(`two changes of ${id} at the same time on ${kernel.node}`);
  };
}

/** Closes that are tried again and again: none is sent once what it is to close has been asked for anew. */
export function watchCloses({ network, broken }: Playing): void {
  let order = 0;
  const firstSent = new WeakMap<object, number>();
  const answered = new Map<string, number>();
  network.onAsk = (from, url, path, input) => {
    order++;
    const isClose = path.endsWith("/Close");
    const connection = isClose ? (input as Connection) : (input as NetworkServiceRequest).connection;
    if (connection === undefined || !(isClose || path.endsWith("/Request"))) return undefined;
    const key = `${from.pid} ${url} ${nextSegment(connection)?.id ?? connection.id}`;
    if (!isClose) return () => void answered.set(key, ++order);
    const first = firstSent.get(connection) ?? order;
    firstSent.set(connection, first);
    if ((answered.get(key) ?? 0) > first)
      broken.push(`${from.name} goes on to close ${connection.id} at ${url}, though it has asked for it anew`);
    return undefined;
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
