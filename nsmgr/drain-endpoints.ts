/**
 * drain-endpoints — has the connections of this node's endpoints moved elsewhere, all of them or one endpoint's; or those of
 * one of its forwarders to another one.
 * Needs:  context.previous (from `serialize`); stands behind `choose-endpoint`, which then asks the next candidate
 * Does:   watchers of these connections are told RESELECT_REQUESTED. Connections of this node's workloads to endpoints of
 *         other nodes stay, and so does all that finds no other place. Forgotten when the manager restarts
 * Fails:  UNAVAILABLE a new connection to an endpoint that drains
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { type Drain, drain } from "../sdk/elements/drain.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { nextSegment } from "../sdk/path.js";
import { Code, statusError } from "../sdk/status.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export interface Drains extends Element<ConnectionApi, Pick<HasConnection, "previous">> {
  /**
   * @param name  of an endpoint or a forwarder; empty: all endpoints of this node
   * @throws NOT_FOUND nothing of that name is registered here
   */
  of(name: string): Pick<Drain, "begin" | "end">;
  /** Whether one of this name is to take no new connections. */
  isDraining(name: string): boolean;
}

export interface DrainEndpointsDeps {
  /** Of this manager. */
  readonly name: string;
  readonly locals: Pick<LocalEndpoints, "get">;
  readonly hub: Pick<MonitorHub, "connections" | "publish">;
}

export function drainEndpoints({ name, locals, hub }: DrainEndpointsDeps): Drains {
  /** By endpoint; "" = all. Only what has been asked for and not undone. */
  const drains = new Map<string, Drain>();

  function* connectionsOf(endpointName: string) {
    for (const connection of hub.connections()) {
      const { network_service_endpoint_name: at } = connection;
      const isOne = at === endpointName || nextSegment(connection)?.name === endpointName;
      if (endpointName === "" ? locals.get(at) !== undefined : isOne) yield connection;
    }
  }

  return {
    name: "drain-endpoints",
    isDraining: (one) => drains.has(one),
    steps: {
      async request(request, { previous }, rest) {
        const at = request.connection?.network_service_endpoint_name ?? "";
        const leaving = drains.has("") || drains.has(at);
        if (previous === undefined && leaving && locals.get(at) !== undefined) {
          throw statusError(Code.UNAVAILABLE, `endpoint ${at} drains and takes no new connections; another one must be asked`);
        }
        return rest.request(request);
      },
    },
    of(endpointName) {
      if (endpointName !== "" && locals.get(endpointName) === undefined) {
        throw statusError(
          Code.NOT_FOUND,
          `neither an endpoint nor a forwarder ${endpointName.slice(0, 80)} is registered with manager ${name}`,
        );
      }
      const draining =
        drains.get(endpointName) ?? drain({ name, connections: () => connectionsOf(endpointName), publish: hub.publish });
      return {
        begin(waitMs) {
          drains.set(endpointName, draining);
          return draining.begin(waitMs);
        },
        end() {
          drains.delete(endpointName);
          return draining.end();
        },
      };
    },
  };
}
