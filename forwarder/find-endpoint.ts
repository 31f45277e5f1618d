/**
 * find-endpoint — turns the chosen endpoint's name into the place to call.
 * Needs:  context.previous (from `serialize`)
 * Adds:   context.nextHop
 * Does:   looks the endpoint up by name, from memory when it can; when that place does not answer it asks the registry
 *         once more and follows a changed one; a connection that goes to another endpoint, or to the other side of the
 *         node's border, is first closed where it was
 * Fails:  NOT_FOUND when nobody is registered under the name; FAILED_PRECONDITION when no endpoint has been chosen
 */
import type { ConnectionApi } from "../sdk/api.js";
import { MechanismClass } from "../sdk/api.js";
import type { Element, Rest } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { HasNextHop, NextHop } from "../sdk/elements/forward.js";
import type { Connection } from "../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { nextSegment } from "../sdk/path.js";
import type { WatchedCache } from "../sdk/registry/cache.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { Connections } from "./connections.js";
import { classOf } from "./locality.js";

export interface FindEndpointOptions {
  /** Look-ups by name; `fresh` goes past any memory. */
  readonly endpoints: Pick<WatchedCache<NetworkServiceEndpoint>, "find">;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly log: Log;
}

export function findEndpoint(options: FindEndpointOptions): Element<ConnectionApi, object, HasNextHop> {
  const { endpoints, connections, clock, log } = options;

  async function urlOf(name: string, signal: AbortSignal, fresh: boolean): Promise<string | undefined> {
    const query = NetworkServiceEndpoint.fromPartial({ name });
    for await (const { entry, deleted } of endpoints.find(query, { watch: false, signal, fresh })) {
      const { expiration_time: expiry } = entry;
      if (deleted || entry.name !== name || entry.url === "") continue;
      if (expiry === undefined || timestampMs(expiry) > clock.nowMs()) return entry.url;
    }
    return undefined;
  }

  return {
    name: "find-endpoint",
    steps: {
      async request(request, context, rest) {
        const { signal } = context;
        const connection = request.connection;
        const name = connection?.network_service_endpoint_name ?? "";
        if (connection === undefined || name === "") throw noneChosen(connection);
        const held = connections.get(connection.id)?.nextHop;
        // An entry that has been taken out, or lost, ends no connection that lives: the endpoint itself says what it still has.
        const where = held?.name === name ? held.url : undefined;
        const url = (await urlOf(name, signal, false)) ?? (await urlOf(name, signal, true)) ?? where;
        if (url === undefined) throw notRegistered(connection, name);

        const goTo = async (place: string): Promise<Connection> => {
          await leaveElsewhere(connection.id, name, place, rest);
          return rest.request(request, { nextHop: nextHopOf(place, name, connection) });
        };
        try {
          return await goTo(url);
        } catch (error) {
          const moved = await movedFrom(url, name, signal);
          if (moved === undefined) throw error;
          log.info(`${name} is not at ${url} any more but at ${moved}`, { connectionId: connection.id, error });
          return goTo(moved);
        }
      },
      async close(connection, { signal }, rest) {
        const held = connections.get(connection.id);
        const name = held?.nextHop.name ?? connection.network_service_endpoint_name;
        const url = held?.nextHop.url ?? (await lastKnownUrl(name, signal));
        await rest.close(connection, { nextHop: url === undefined ? undefined : nextHopOf(url, name, connection) });
      },
    },
  };

  /** Closes what leads to another endpoint, or to the same one on the other side of the node's border. */
  async function leaveElsewhere(id: string, name: string, url: string, rest: Rest<ConnectionApi, HasNextHop>): Promise<void> {
    const held = connections.get(id);
    if (held === undefined || (held.nextHop.name === name && classOf(held.nextHop.url) === classOf(url))) return;
    log.info(`the connection moves from ${held.nextHop.name} at ${held.nextHop.url} to ${name} at ${url}`, { connectionId: id });
    await rest.close(held.downstream, { nextHop: nextHopOf(held.nextHop.url, held.nextHop.name, held.downstream) });
  }

  /** What the registry itself says, if that is another place than the one that has failed. */
  async function movedFrom(url: string, name: string, signal: AbortSignal): Promise<string | undefined> {
    if (signal.aborted) return undefined;
    const fresh = await urlOf(name, signal, true).catch(() => undefined);
    return fresh === url ? undefined : fresh;
  }

  async function lastKnownUrl(name: string, signal: AbortSignal): Promise<string | undefined> {
    if (name === "") return undefined;
    try {
      return await urlOf(name, signal, false);
    } catch (error) {
      log.info(`the registry does not say where ${name} is; what it holds of the connection expires there`, { error });
      return undefined;
    }
  }
}

/**
 * On this node the endpoint itself is next; elsewhere its manager is, whose name we only learn from the path.
 */
function nextHopOf(url: string, endpointName: string, connection: Connection): NextHop {
  const name = classOf(url) === MechanismClass.LOCAL ? endpointName : (nextSegment(connection)?.name ?? "");
  return { url, name };
}

function noneChosen(connection: Connection | undefined) {
  const service = connection?.network_service ?? "";
  return statusError(Code.FAILED_PRECONDITION, `no endpoint of network service ${service} has been chosen; name one`);
}

function notRegistered(connection: Connection, name: string) {
  return statusError(
    Code.NOT_FOUND,
    `endpoint ${name} of network service ${connection.network_service} is not registered; ` +
      "wait until it is, or ask without naming an endpoint",
  );
}
