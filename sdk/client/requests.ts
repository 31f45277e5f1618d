/** The messages a client sends for one connection (pure). */

import { MechanismClass, MechanismType } from "../api.js";
import { type Connection, type Mechanism, State } from "../gen/connection.js";
import type { ConnectionContext } from "../gen/connectioncontext.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { fitInterfaceName, generateInterfaceName } from "../mechanisms/interface-name.js";
import { kernelMechanism } from "../mechanisms/kernel.js";
import { memifMechanism } from "../mechanisms/memif.js";
import { makeMechanism, sharedParameter, withParameters } from "../mechanisms/parameters.js";
import type { ServiceUrl } from "../mechanisms/service-url.js";
import { unmarked } from "../monitor/broken.js";

export interface Wish {
  readonly service: ServiceUrl;
  readonly labels: Readonly<Record<string, string>>;
  /** Name of the client in the path. */
  readonly name: string;
  /** Connection id, unique among the clients of one node manager. */
  readonly id: string;
  readonly mechanism: Mechanism;
  /** What the client wants of its addresses; usually nothing. */
  readonly context: ConnectionContext | undefined;
  /** Empty: any endpoint of the service. */
  readonly endpointName: string;
}

/** The mechanism by which the client wants to be reached. */
export function wantedMechanism(service: ServiceUrl, id: string, netnsUrl: string): Mechanism {
  const asked = service.interfaceName;
  if (service.mechanism === MechanismType.KERNEL) {
    const interfaceName = asked === "" ? generateInterfaceName(service.networkService, id) : fitInterfaceName(asked);
    return kernelMechanism({ interfaceName, netnsUrl });
  }
  if (service.mechanism === MechanismType.MEMIF) {
    return withParameters(memifMechanism({ netnsUrl }), { [sharedParameter.name]: asked === "" ? undefined : asked });
  }
  return makeMechanism(MechanismClass.LOCAL, service.mechanism, { [sharedParameter.name]: asked === "" ? undefined : asked });
}

export function firstRequest(wish: Wish): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: {
      id: wish.id,
      network_service: wish.service.networkService,
      network_service_endpoint_name: wish.endpointName,
      labels: { ...wish.service.labels, ...wish.labels },
      context: wish.context,
      path: { index: 0, path_segments: [{ name: wish.name, id: wish.id }] },
    },
    mechanism_preferences: [wish.mechanism],
  });
}

/** A refresh: everything as it was granted, but for the MTU: the connection may have as much as was wished for, if that fits by now. */
export function sameRequest(wish: Wish, granted: Connection): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: { ...granted, context: withWishedMtu(granted.context, wish), state: State.UP },
    mechanism_preferences: [wish.mechanism],
  });
}

function withWishedMtu(context: ConnectionContext | undefined, wish: Wish): ConnectionContext | undefined {
  return context && { ...context, MTU: wish.context?.MTU ?? 0 };
}

/**
 * Another endpoint: mechanism and endpoint are chosen anew, what the old endpoint had put into the context is forgotten
 * (its addresses would otherwise stay beside the new ones); the path stays, so that every hop finds what to close.
 */
export function reselectRequest(wish: Wish, granted: Connection): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: {
      ...granted,
      mechanism: undefined,
      network_service_endpoint_name: wish.endpointName,
      context: wish.context,
      state: State.RESELECT_REQUESTED,
    },
    mechanism_preferences: [wish.mechanism],
  });
}

/**
 * Our connection as the node manager shows it, in our own terms: index 0, our id. Undefined if it is not ours or was made
 * with another mechanism.
 */
export function adopt(wish: Wish, marked: Connection): Connection | undefined {
  const shown = unmarked(marked);
  const own = shown.path?.path_segments[0];
  if (shown.path?.index !== 1 || own === undefined || own.id !== wish.id || own.name !== wish.name) return undefined;
  const { mechanism } = shown;
  if (shown.network_service !== wish.service.networkService || mechanism?.type !== wish.mechanism.type) return undefined;
  // A restarted pod has another namespace than the one the connection was made for.
  const netns = wish.mechanism.parameters[sharedParameter.inodeUrl];
  const here = withParameters(mechanism, netns === undefined ? {} : { [sharedParameter.inodeUrl]: netns });
  return { ...shown, id: wish.id, mechanism: here, path: { ...shown.path, index: 0 } };
}

/** What the manager shows so soon after an answer may have been shown before it. */
const lateNewsMs = 1_000;

/** Whether a connection as it is shown leads to another endpoint than the one we were granted so long ago. */
export function isElsewhere(shown: Connection, granted: Connection, sinceGrantMs: number): boolean {
  return sinceGrantMs > lateNewsMs && shown.network_service_endpoint_name !== granted.network_service_endpoint_name;
}
