/**
 * watch-service — moves a connection when its service is edited so that its endpoint no longer matches.
 * Needs:  context.events, context.previous (from `serialize`)
 * Does:   one watch per network service in use; after each change every connection's endpoint is measured against the
 *         service again; where it no longer fits, watchers are told RESELECT_REQUESTED and the connection is closed
 * Fails:  FAILED_PRECONDITION a known connection asks for an endpoint that no longer matches
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectionApi, ServiceRegistry } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
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
  /** The endpoint of that name; undefined = not registered any more. */
  readonly endpointOf: (name: string, signal: AbortSignal) => Promise<NetworkServiceEndpoint | undefined>;
  readonly log: Log;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

interface Tracked {
  /** As answered; its labels are those it was asked with. */
  readonly connection: Connection;
  readonly labels: Readonly<Record<string, string>>;
  readonly events: HasConnection["events"];
}
interface Watched {
  readonly connections: Map<string, Tracked>;
  readonly stop: AbortController;
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
    entry.connections.delete(id);
    if (entry.connections.size > 0) return;
    entry.stop.abort();
    watched.delete(name);
  };
  const track = (tracked: Tracked): void => {
    const { id, network_service: name } = tracked.connection;
    if (serviceById.get(id) !== name) untrack(id);
    let entry = watched.get(name);
    if (entry === undefined) {
      entry = { connections: new Map(), stop: new AbortController(), service: undefined };
      watched.set(name, entry);
      void follow(name, entry, deps);
    }
    entry.connections.set(id, tracked);
    serviceById.set(id, name);
  };

  return {
    name: "watch-service",
    steps: {
      async request(request, context, rest) {
        const { connection } = request;
        if (connection !== undefined && context.previous !== undefined && connection.state !== State.RESELECT_REQUESTED) {
          await requireMatch(connection, watched.get(connection.network_service)?.service, deps, context.signal);
        }
        const answer = await rest.request(request);
        // a name of another domain is matched there
        if (!answer.network_service.includes("@")) {
          track({ connection: answer, labels: connection?.labels ?? {}, events: context.events });
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

async function requireMatch(
  connection: Connection,
  service: NetworkService | undefined,
  deps: WatchServiceDeps,
  signal: AbortSignal,
): Promise<void> {
  const name = connection.network_service_endpoint_name;
  if (service === undefined || name === "") return;
  if (!(await mustMove(service, name, connection.labels, deps, signal))) return;
  const text = `endpoint ${name} no longer matches service ${service.name}; ask again with state RESELECT_REQUESTED`;
  throw statusError(Code.FAILED_PRECONDITION, text);
}

/** Whether the endpoint is there and the service's matches rule it out. What cannot be found out moves nobody. */
async function mustMove(
  service: NetworkService,
  endpointName: string,
  labels: Readonly<Record<string, string>>,
  deps: WatchServiceDeps,
  signal: AbortSignal,
): Promise<boolean> {
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
  const signal = AbortSignal.any([deps.signal, entry.stop.signal]);
  let pauseMs = retryMs.first;
  while (!signal.aborted) {
    try {
      for await (const { entry: service, deleted } of deps.find(NetworkService.fromPartial({ name }), { watch: true, signal })) {
        pauseMs = retryMs.first;
        if (service.name !== name || deleted) continue;
        entry.service = service;
        await moveMisplaced(service, entry, deps, signal);
      }
    } catch (error) {
      if (!signal.aborted) deps.log.debug("watch of a service ended; it is opened again", { service: name, pauseMs, error });
    }
    await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, retryMs.longest);
  }
}

async function moveMisplaced(
  service: NetworkService,
  entry: Watched,
  deps: WatchServiceDeps,
  signal: AbortSignal,
): Promise<void> {
  for (const [id, { connection, labels, events }] of [...entry.connections]) {
    if (!(await mustMove(service, connection.network_service_endpoint_name, labels, deps, signal))) continue;
    // it may have been moved or closed while we looked
    if (entry.connections.get(id)?.connection !== connection) continue;
    const endpoint = connection.network_service_endpoint_name;
    deps.log.info("endpoint no longer matches its service; the connection moves", {
      connectionId: id,
      endpoint,
      service: service.name,
    });
    deps.publish({ ...connection, state: State.RESELECT_REQUESTED });
    events.close(`endpoint ${endpoint} no longer matches service ${service.name}`);
  }
}
