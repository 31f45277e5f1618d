/**
 * What an object asks for by its annotations (pure):
 *
 *     networkservicemesh.io: kernel://service/nsm-1,kernel://other/nsm-2?label=value
 *     networkservicemesh.io/mode: sidecar | node
 *
 * Grammar of the URLs: sdk/mechanisms/service-url.ts. Beyond it, what cannot work for one pod is refused here, before a pod
 * is made that would wait for ever.
 */
import { MechanismType } from "../api.js";
import { fitInterfaceName } from "../mechanisms/interface-name.js";
import { parseServiceUrls, type ServiceUrl } from "../mechanisms/service-url.js";
import { Code, statusError } from "../status.js";

export const servicesAnnotation = "networkservicemesh.io";
export const modeAnnotation = "networkservicemesh.io/mode";

/**
 * The pod is an endpoint: its containers ("true": all of them; else their names, separated by commas) get what a program of
 * the SDK wants to know of its surroundings: the manager's socket, a name, an identity.
 */
export const endpointAnnotation = "networkservicemesh.io/endpoint";

/** Of a pod with an annotation: whether it has all that it asks for. Also the readiness gate of mode `node`. */
export const connectedCondition = "networkservicemesh.io/connected";
/** What a pod has, as JSON, for people and programs that look at the pod only. */
export const statusAnnotation = "networkservicemesh.io/status";

/** The part of an object's metadata that is looked at. */
export interface Annotated {
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Who makes the connections: a container in the pod, or the agent of its node. */
export type Mode = "sidecar" | "node";

export interface Wanted {
  /** As written; it becomes NSM_NETWORK_SERVICES. */
  readonly text: string;
  readonly services: readonly ServiceUrl[];
}

/** More services than this on one pod are a mistake: each is an interface, an address and a probe. */
export const maxServices = 50;

/**
 * The services an object asks for; undefined when it has no such annotation, or an empty one.
 * @throws INVALID_ARGUMENT with the annotation's name and a mark under the wrong character
 */
export function wantedBy(meta: Annotated | undefined, annotation = servicesAnnotation): Wanted | undefined {
  const text = ownText(meta, annotation);
  if (text === undefined || text.trim() === "") return undefined;
  try {
    const services = parseServiceUrls(text);
    refuseTooMany(services);
    refuseTwins(services);
    return { text, services };
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `annotation ${annotation}: ${(error as Error).message}`, error);
  }
}

/** @throws INVALID_ARGUMENT when it is neither sidecar nor node */
export function modeOf(meta: Annotated | undefined): Mode | undefined {
  const text = ownText(meta, modeAnnotation)?.trim();
  if (text === undefined || text === "") return undefined;
  if (text === "sidecar" || text === "node") return text;
  throw statusError(
    Code.INVALID_ARGUMENT,
    `annotation ${modeAnnotation}: "${text.slice(0, 64)}" is neither "sidecar" nor "node"`,
  );
}

/** Own properties only: an annotation may be called "constructor". */
export function ownText(meta: Annotated | undefined, annotation: string): string | undefined {
  const { annotations } = meta ?? {};
  return annotations !== undefined && Object.hasOwn(annotations, annotation) ? annotations[annotation] : undefined;
}

function refuseTooMany(services: readonly ServiceUrl[]): void {
  if (services.length <= maxServices) return;
  throw statusError(
    Code.INVALID_ARGUMENT,
    `${services.length} services on one pod, and at most ${maxServices} are served; ask for fewer, or reach them through one network (vL3)`,
  );
}

/** Two interfaces of one name cannot be in one pod. */
function refuseTwins(services: readonly ServiceUrl[]): void {
  const owners = new Map<string, ServiceUrl>();
  for (const service of services) {
    if (service.mechanism !== MechanismType.KERNEL || service.interfaceName === "") continue;
    const name = fitInterfaceName(service.interfaceName);
    const other = owners.get(name);
    if (other !== undefined) {
      throw statusError(
        Code.INVALID_ARGUMENT,
        `${other.networkService} and ${service.networkService} would both have the interface "${name}" (as the kernel shortens it); give them different names`,
      );
    }
    owners.set(name, service);
  }
}
