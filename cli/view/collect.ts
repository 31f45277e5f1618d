/** Asking components, with a bound on time; a component that does not answer is named, not fatal. */
import { type Connection, ConnectionEventType, MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { toStatusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { type ConnectionView, joinConnections, type Told } from "./connections.js";
import { questionTimeoutMs, type Source } from "./sources.js";

export interface Collected<T> {
  readonly found: T;
  /** "nsmgr-2 does not answer: …", one line each. */
  readonly problems: readonly string[];
}

/** The connections of all monitors among the sources, joined. */
export async function collectConnections(
  dialer: Dialer,
  sources: readonly Source[],
  signal: AbortSignal,
): Promise<Collected<ConnectionView[]>> {
  const problems: string[] = [];
  const told = await Promise.all(
    sources
      .filter(({ kind }) => kind !== "registry")
      .map(async (source): Promise<Told> => {
        try {
          return { source, connections: await currentConnections(dialer, source.url, signal) };
        } catch (error) {
          // a workload need not be a monitor; the mesh's own components must be
          if (source.kind !== "pod") problems.push(`${source.name} does not answer: ${toStatusError(error).details}`);
          return { source, connections: [] };
        }
      }),
  );
  return { found: joinConnections(told, Date.now()), problems };
}

/** What a monitor holds now: its first event is the whole state. */
export async function currentConnections(dialer: Dialer, url: string, signal: AbortSignal): Promise<Connection[]> {
  const enough = new AbortController();
  const limit = AbortSignal.any([signal, enough.signal, AbortSignal.timeout(questionTimeoutMs)]);
  try {
    for await (const event of dialer.monitor(url, MonitorScopeSelector.fromPartial({}), limit)) {
      if (event.type === ConnectionEventType.INITIAL_STATE_TRANSFER) return Object.values(event.connections);
    }
    return [];
  } finally {
    enough.abort();
  }
}

export async function listServices(dialer: Dialer, url: string, signal: AbortSignal): Promise<NetworkService[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
  const found: NetworkService[] = [];
  const query = NetworkService.fromPartial({});
  for await (const { entry, deleted } of dialer.serviceRegistry(url).find(query, { watch: false, signal: limit })) {
    if (!deleted) found.push(entry);
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}
