/** What many of everything cost, and what becomes of them when something breaks. Each part is a file in scale/. */

import { connectionRows } from "./scale/connections.js";
import { endpointRows } from "./scale/endpoints.js";
import { awayMs, expirePeriod, herdRows } from "./scale/herd.js";
import { watcherRows } from "./scale/watchers.js";
import type { Bench, BenchOptions, BenchRow } from "./table.js";

export const benches: readonly Bench[] = [
  part(
    "connections",
    "Scale: 10,000 connections on one node",
    connectionRows,
    `Registry, nsmgr, forwarder (\`--dataplane none\`) and endpoint, each a process. As many connections are made and closed
before; growth is resident memory less that before, both after a forced collection.`,
  ),
  part(
    "endpoints",
    "Scale: 1,000,000 endpoints in one registry",
    endpointRows,
    `Two registries (store lmdb, on loopback TCP) are asked in turn (A B A B), 8 at once: one with 100,000 endpoints, registered over the
wire, and one that was started with a store of 1,000,000, of 10 per service and 100 per url. In the end everything is
unregistered over the wire; an empty registry has had the same warm-up. Own memory is without the pages of mapped files: lmdb keeps its
file as large as it was, for new entries, and the kernel takes its pages back when it wants their room.`,
  ),
  part(
    "managers",
    "Scale: 1,000 managers on one registry, and their return after it was killed",
    herdRows,
    `Managers are simulated in the generator's process by the parts that nsmgr and endpoint use (sdk/registry), each on a TCP connection of
its own: it keeps two entries registered, with a watch of each, and three services in a watched cache. The lease is
${expirePeriod} to have enough refreshes; a refresh is told to all watchers of its entry. The registry (store memory: what comes back
the managers have brought back) is killed with SIGKILL and started ${awayMs / 1000} s later at the same address.`,
  ),
  part(
    "watchers",
    "Scale: 5,000 watchers, a tenth of which do not read",
    watcherRows,
    `100 watches on a connection. Those that do not read were open when 600 changes of 16 kB came that only they hear of;
half of them leave the bytes in the socket, half read it and give no window back. 64 changes may wait for one
(\`WEFT_WATCH_BUFFER\`, 4,096 by default).`,
  ),
];

function part(name: string, title: string, run: (options: BenchOptions) => Promise<BenchRow[]>, method: string): Bench {
  return {
    name: `scale-${name}`,
    missing: async () => undefined,
    run: async (options) => ({ name: `scale-${name}`, title, method, rows: await run(options) }),
  };
}
