/**
 * stand-between — turns the connection a client has with us into the one we have with the next function, and back.
 * Needs:  context.previous (from `serialize`)
 * Adds:   context.nextHop: our node manager
 * Does:   towards the next function: its service and labels, our own mechanism, any endpoint; towards the client: what it
 *         asked for and the addresses that the last endpoint gave
 */
import { type ConnectionApi, MechanismType } from "../api.js";
import type { Element } from "../chain.js";
import type { HasNextHop } from "../elements/forward.js";
import type { HasConnection } from "../elements/serialize.js";
import { Connection, type Mechanism, State } from "../gen/connection.js";
import { generateInterfaceName } from "../mechanisms/interface-name.js";
import { kernelMechanism } from "../mechanisms/kernel.js";
import { memifMechanism, memifParameter } from "../mechanisms/memif.js";
import { nextSegment } from "../path.js";

export interface NextFunction {
  /** Absent: the service we were asked for; its matches then tell by our labels who is next. */
  readonly service: string | undefined;
  /** Replace the client's labels. */
  readonly labels: Readonly<Record<string, string>>;
  readonly nsmgr: string;
  /** Namespace that gets the second interface. */
  readonly netnsUrl: string;
}

export interface StandBetween extends Element<ConnectionApi, HasConnection, HasNextHop> {
  /** The interface towards the next function. */
  outInterface(connectionId: string): string;
  /** The memif socket towards the next function; empty: it is no memif. */
  outSocket(connectionId: string): string;
  /** Changes whenever the second interface may have been made anew. */
  generation(connectionId: string): number;
}

/** What the next function granted. */
interface Granted {
  readonly mechanism: Mechanism | undefined;
  readonly endpointName: string;
  readonly generation: number;
}

export function standBetween(next: NextFunction): StandBetween {
  const granted = new Map<string, Granted>();
  let generations = 0;

  function outward(connection: Connection): Connection {
    const known = granted.get(connection.id);
    return {
      ...connection,
      network_service: next.service ?? connection.network_service,
      network_service_endpoint_name:
        connection.state === State.RESELECT_REQUESTED ? "" : (known?.endpointName ?? lastOnPath(connection)),
      labels: { ...next.labels },
      mechanism: known?.mechanism,
    };
  }

  function nextHop(connection: Connection): HasNextHop {
    return { nextHop: { url: next.nsmgr, name: nextSegment(connection)?.name ?? "" } };
  }

  return {
    name: "stand-between",
    outInterface: (id) => outName(id),
    outSocket: (id) => socketOf(granted.get(id)?.mechanism),
    generation: (id) => granted.get(id)?.generation ?? 0,
    steps: {
      async request(request, { previous }, rest) {
        const asked = request.connection ?? Connection.fromPartial({});
        // First, or closed before a reselect: nothing of an older grant holds.
        if (previous === undefined) granted.delete(asked.id);
        const connection = outward(asked);
        const out = outMechanism(asked, next.netnsUrl);
        const answer = await rest.request({ connection, mechanism_preferences: [out] }, nextHop(asked));
        const before = granted.get(asked.id);
        const sameEndpoint =
          before?.endpointName === answer.network_service_endpoint_name &&
          socketOf(before.mechanism) === socketOf(answer.mechanism);
        granted.set(asked.id, {
          mechanism: answer.mechanism,
          endpointName: answer.network_service_endpoint_name,
          generation: before !== undefined && sameEndpoint ? before.generation : ++generations,
        });
        return {
          ...answer,
          network_service: asked.network_service,
          network_service_endpoint_name: asked.network_service_endpoint_name,
          labels: asked.labels,
          mechanism: asked.mechanism,
          payload: asked.payload || answer.payload,
        };
      },
      async close(connection, _context, rest) {
        try {
          await rest.close(outward(connection), nextHop(connection));
        } finally {
          granted.delete(connection.id);
        }
      },
    },
  };
}

/** The kind that reaches us reaches the next function as well. */
function outMechanism(asked: Connection, netnsUrl: string): Mechanism {
  if (asked.mechanism?.type === MechanismType.MEMIF) return memifMechanism({ netnsUrl });
  return kernelMechanism({ interfaceName: outName(asked.id), netnsUrl, unnumbered: true });
}

function socketOf(mechanism: Mechanism | undefined): string {
  return mechanism?.type === MechanismType.MEMIF ? (mechanism.parameters[memifParameter.socketFile] ?? "") : "";
}

/** The same for the same connection, so that a restarted function asks for the interface it has. */
function outName(connectionId: string): string {
  return generateInterfaceName("out", connectionId);
}

/**
 * The next endpoint as the path still shows it, for a function that was restarted: the last of the three (this node) or
 * five (another node) segments after ours. Empty if more functions follow, where the path does not say which is next.
 */
function lastOnPath(connection: Connection): string {
  const later = connection.path?.path_segments.slice((connection.path.index ?? 0) + 1) ?? [];
  return later.length === 3 || later.length === 5 ? (later.at(-1)?.name ?? "") : "";
}
