/**
 * watch-service — moves a connection when its service is edited so that its endpoint no longer matches.
 * Needs:  context.events, context.previous (from `serialize`)
 * Does:   one watch per network service in use; after each change every connection's endpoint is measured against the
 *         service again; where it no longer fits, watchers are told RESELECT_REQUESTED, so that the workload makes its new
 *         path beside the old one; what it has not given back some seconds later is closed
 * Fails:  FAILED_PRECONDITION a workload of this node asks for a connection to an endpoint that does not match: one that
 *         was told to move and asks for the same endpoint all the same
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectionApi, ServiceRegistry } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock, Disarm } from "../sdk/clock.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { type Connection, State } from "../sdk/gen/connection.js";
import { NetworkService, type NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { selectCandidates } from "../sdk/registry/match.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";

export interface WatchServiceDeps {
  /** Tells who watches the connection. */
  readonly publish: (connection: Connection) => void;
  readonly find: ServiceRegistry["find"];
  /** The service of that name; throws if there is none. */
  readonly serviceOf: (name: string, payload: string, signal: AbortSignal) => Promise<NetworkService>;
  /** The endpoint of that name; undefined = not registered any more. */
  readonly endpointOf: (name: string, signal: AbortSignal) => Promise<NetworkServiceEndpoint | undefined>;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

/** How long a connection that is to move stays for its workload to make the new one, in milliseconds. */
export const moveMs = 5_000;
/** How long the watch of a service without connections is kept, in milliseconds: most come back soon. */
export const lingerMs = 30_000;

interface Tracked {
  /** As answered; its labels are those it was asked with. */
  readonly connection: Connection;
  readonly labels: Readonly<Record<string, string>>;
  readonly events: HasConnection["events"];
  /** The service as it was when the endpoint was last found to match. */
  verified: NetworkService | undefined;
  /** Disarms its closing; set while it is to move. */
  closing: Disarm | undefined;
}
interface Watched {
  readonly connections: Map<string, Tracked>;
  readonly stop: AbortController;
  /** Aborts with `stop` and at shutdown. */
  readonly signal: AbortSignal;
  /** Disarms the end of the watch; set while nobody uses it. */
  linger: Disarm | undefined;
  /** As the watch told it last. */
  service: NetworkService | undefined;
}

/** Pauses between two tries of a watch that ended, in milliseconds. */
const retryMs = { first: 200, longest: 5_000 };

export function watchService(deps: WatchServiceDeps): Element<ConnectionApi, HasConnection> {
  const watched = new Map<string, Watched>();
  const serviceById = new Map<string, string>();

  const untrack = (id: string): void => {
    const name = serviceById.get(id);
    const entry = name === undefined ? undefined : watched.get(name);
    serviceById.delete(id);
    if (name === undefined || entry === undefined) return;
    entry.connections.get(id)?.closing?.();
    entry.connections.delete(id);
    if (entry.connections.size > 0 || deps.signal.aborted) return;
    entry.linger = deps.clock.at(deps.clock.nowMs() + lingerMs, () => {
      entry.stop.abort();
      watched.delete(name);
    });
  };
  deps.signal.addEventListener("abort", () => {
    for (const { linger, connections } of watched.values()) {
      linger?.();
      for (const { closing } of connections.values()) closing?.();
    }
  });
  const track = (connection: Connection, labels: Tracked["labels"], events: Tracked["events"]): void => {
    const { id, network_service: name } = connection;
    if (serviceById.get(id) !== name) untrack(id);
    let entry = watched.get(name);
    if (entry === undefined) {
      const stop = new AbortController();
      const signal = AbortSignal.any([deps.signal, stop.signal]);
      entry = { connections: new Map(), stop, signal, linger: undefined, service: undefined };
      watched.set(name, entry);
      void follow(name, entry, deps);
    }
    entry.linger?.();
    entry.linger = undefined;
    const before = entry.connections.get(id);
    const stays = before?.connection.network_service_endpoint_name === connection.network_service_endpoint_name;
    if (!stays) before?.closing?.();
    const kept = stays ? before : undefined;
    entry.connections.set(id, { connection, labels, events, verified: kept?.verified, closing: kept?.closing });
    serviceById.set(id, name);
    // the choice may have been made from an older state than the watch has told of meanwhile
    void moveMisplaced(entry, [id], deps);
  };

  return {
    name: "watch-service",
    steps: {
      async request(request, context, rest) {
        const { connection } = request;
        if (connection !== undefined && context.previous === undefined) await requireMatch(connection, deps, context.signal);
        const answer = await rest.request(request);
        if (!isElsewhere(answer.network_service)) {
          track(answer, connection?.labels ?? {}, context.events);
        }
        return answer;
      },
      async close(connection, _context, rest) {
        untrack(connection.id);
        await rest.close(connection);
      },
    },
  };
}

/** Other managers on the path have no say: the first one knows the labels as the workload has them. */
async function requireMatch(connection: Connection, deps: WatchServiceDeps, signal: AbortSignal): Promise<void> {
  const { network_service: name, network_service_endpoint_name: endpoint, state, path } = connection;
  if (endpoint === "" || state === State.RESELECT_REQUESTED || path?.index !== 1 || isElsewhere(name)) return;
  const service = await deps.serviceOf(name, "", signal).catch(() => undefined);
  if (service === undefined) return;
  if (!(await mustMove(service, endpoint, connection.labels, deps, signal))) return;
  const text = `endpoint ${endpoint} does not match service ${name}; ask again with state RESELECT_REQUESTED`;
  throw statusError(Code.FAILED_PRECONDITION, text);
}

/** A name of another domain is matched there. */
function isElsewhere(service: string): boolean {
  return service.includes("@");
}

/** Whether the endpoint is there and the service's matches rule it out. What cannot be found out moves nobody. */
async function mustMove(
  service: NetworkService,
  endpointName: string,
  labels: Readonly<Record<string, string>>,
  deps: WatchServiceDeps,
  signal: AbortSignal,
): Promise<boolean> {
  if (service.matches.length === 0) return false;
  try {
    const endpoint = await deps.endpointOf(endpointName, signal);
    return endpoint !== undefined && selectCandidates(service, [endpoint], labels).length === 0;
  } catch (error) {
    deps.log.debug("endpoint could not be looked up", { endpoint: endpointName, error });
    return false;
  }
}

/** Keeps the watch of one service open until nobody uses it. */
async function follow(name: string, entry: Watched, deps: WatchServiceDeps): Promise<void> {
  const { signal } = entry;
  let pauseMs = retryMs.first;
  while (!signal.aborted) {
    try {
      for await (const { entry: service, deleted } of deps.find(NetworkService.fromPartial({ name }), { watch: true, signal })) {
        pauseMs = retryMs.first;
        if (service.name !== name || deleted) continue;
        entry.service = service;
        await moveMisplaced(entry, [...entry.connections.keys()], deps);
      }
    } catch (error) {
      if (!signal.aborted) deps.log.debug("watch of a service ended; it is opened again", { service: name, pauseMs, error });
    }
    await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, retryMs.longest);
  }
}

/** Measures connections against the service as it is now. Never rejects. */
async function moveMisplaced(entry: Watched, ids: readonly string[], deps: WatchServiceDeps): Promise<void> {
  const endpointOf = askOnce(deps.endpointOf);
  for (const id of ids) {
    const { service } = entry;
    const tracked = entry.connections.get(id);
    if (service === undefined || tracked === undefined || tracked.verified === service) continue;
    const { connection, labels, events } = tracked;
    const endpoint = connection.network_service_endpoint_name;
    const misplaced = await mustMove(service, endpoint, labels, { ...deps, endpointOf }, entry.signal);
    // it may have been moved or closed while we looked
    if (entry.connections.get(id) !== tracked) continue;
    tracked.verified = service;
    if (!misplaced) {
      tracked.closing?.();
      tracked.closing = undefined;
      continue;
    }
    deps.log.info("endpoint no longer matches its service; the connection moves", {
      connectionId: id,
      endpoint,
      service: service.name,
    });
    deps.publish({ ...connection, state: State.RESELECT_REQUESTED });
    tracked.closing ??= deps.clock.at(deps.clock.nowMs() + moveMs, () =>
      events.close(`endpoint ${endpoint} no longer matches service ${service.name}`),
    );
  }
}

/** Many connections go to one endpoint. */
function askOnce(ask: WatchServiceDeps["endpointOf"]): WatchServiceDeps["endpointOf"] {
  const asked = new Map<string, Promise<NetworkServiceEndpoint | undefined>>();
  return (name, signal) => {
    const answer = asked.get(name) ?? ask(name, signal);
    asked.set(name, answer);
    return answer;
  };
}
