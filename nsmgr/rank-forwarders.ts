/**
 * rank-forwarders — which forwarders of this node may carry a connection, and in which order (pure).
 * Rules: behaviour of NSM's discoverforwarder element.
 *  1. The service's first match whose source selector fits the connection says which labels a forwarder must carry;
 *     where nothing fits those labels, `fallthrough` leads to the next match.
 *  2. A connection stays with its forwarder: the one remembered here, or failing that the one in its path.
 *  3. RESELECT_REQUESTED forgets both.
 */
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";

export interface ForwarderQuery {
  /** Registered on this node, oldest first. */
  readonly forwarders: readonly NetworkServiceEndpoint[];
  /** The service under which forwarders register. */
  readonly serviceName: string;
  /** Label sets in the order to try; sdk/registry/template.ts makes them. */
  readonly required: readonly Readonly<Record<string, string>>[];
  /** The forwarder the connection has; undefined = it has none or wants another. */
  readonly current: string | undefined;
}

export interface Refusal {
  readonly candidate: string;
  readonly rule: string;
}
export interface Ranking {
  readonly candidates: readonly NetworkServiceEndpoint[];
  readonly refused: readonly Refusal[];
  /** The labels that decided; undefined = no match of the service fits the connection. */
  readonly labels: Readonly<Record<string, string>> | undefined;
}

export function rankForwarders(query: ForwarderQuery): Ranking {
  const refused: Refusal[] = [];
  for (const labels of query.required) {
    const candidates: NetworkServiceEndpoint[] = [];
    for (const forwarder of query.forwarders) {
      const missing = missingLabel(labelsOf(forwarder, query.serviceName), labels);
      if (missing === undefined) candidates.push(forwarder);
      else refused.push({ candidate: forwarder.name, rule: `label ${missing} required` });
    }
    if (candidates.length > 0) return { candidates: currentFirst(candidates, query.current), refused, labels };
  }
  return { candidates: [], refused, labels: query.required.at(-1) };
}

function currentFirst(candidates: NetworkServiceEndpoint[], current: string | undefined): NetworkServiceEndpoint[] {
  return [
    ...candidates.filter((candidate) => candidate.name === current),
    ...candidates.filter((candidate) => candidate.name !== current),
  ];
}

function labelsOf(endpoint: NetworkServiceEndpoint, service: string): Readonly<Record<string, string>> {
  const labels = endpoint.network_service_labels;
  return (Object.hasOwn(labels, service) ? labels[service]?.labels : undefined) ?? {};
}

/** The first required label that is not there, as `key=value`. */
function missingLabel(present: Readonly<Record<string, string>>, required: Readonly<Record<string, string>>): string | undefined {
  const missing = Object.entries(required).find(([key, value]) => !Object.hasOwn(present, key) || present[key] !== value);
  return missing === undefined ? undefined : `${missing[0]}=${missing[1]}`;
}
