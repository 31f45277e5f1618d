/**
 * Which entries a query means, and which endpoints of a service a connection may have (pure).
 * Source of the rules: behaviour of NSM's registries (no regular expressions anywhere).
 */
import type { Match, NetworkService, NetworkServiceEndpoint, NetworkServiceLabels } from "../gen/registry.js";
import { renderTemplate } from "./template.js";

export type Labels = Readonly<Record<string, string>>;

/** Told of each candidate looked at, and of the rule that chose or refused it. */
export type Explain = (candidate: string, verdict: "CHOSEN" | "REFUSED", rule: string) => void;

/** Does the service answer the query? Name and payload: equal or not asked; `matches`: equal if asked. */
export function matchesService(query: NetworkService, entry: NetworkService): boolean {
  return (
    (query.name === "" || query.name === entry.name) &&
    (query.payload === "" || query.payload === entry.payload) &&
    (query.matches.length === 0 || sameMatches(query.matches, entry.matches))
  );
}

/**
 * Does the endpoint answer the query? Name: equal; url: contained; expiry: same second; services and the labels of
 * each service: contained. What the query leaves empty is not asked; path ids and the first registration never are.
 */
export function matchesEndpoint(query: NetworkServiceEndpoint, entry: NetworkServiceEndpoint): boolean {
  return (
    (query.name === "" || query.name === entry.name) &&
    (query.url === "" || entry.url.includes(query.url)) &&
    (query.expiration_time === undefined || query.expiration_time.seconds === entry.expiration_time?.seconds) &&
    query.network_service_names.every((name) => entry.network_service_names.includes(name)) &&
    Object.entries(query.network_service_labels).every(([service, { labels }]) =>
      isLabelled(entry.network_service_labels, service, labels),
    )
  );
}

function isLabelled(entry: Readonly<Record<string, NetworkServiceLabels>>, service: string, wanted: Labels): boolean {
  if (!Object.hasOwn(entry, service)) return false;
  const labels = entry[service]?.labels ?? {};
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

function sameMatches(a: readonly Match[], b: readonly Match[]): boolean {
  return a.length === b.length && a.every((match, i) => canonical(match) === canonical(b[i]));
}

/** One text for equal matches, whatever the order of their map keys. */
function canonical(match: Match | undefined): string {
  if (match === undefined) return "";
  return JSON.stringify([
    sorted(match.source_selector),
    match.routes.map((route) => [sorted(route.destination_selector), route.weight]),
    match.fallthrough,
    match.metadata === undefined ? null : sorted(match.metadata.labels),
  ]);
}

function sorted(labels: Labels): [string, string][] {
  return Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/**
 * Do labels satisfy a selector? Each value of the selector holds literally, or after its templates are replaced by
 * `values`. A label that is absent counts as empty, but there must be as many labels as the selector has.
 */
export function satisfies(labels: Labels, selector: Labels, values: Labels): boolean {
  const wanted = Object.entries(selector);
  if (Object.keys(labels).length < wanted.length) return false;
  return wanted.every(([key, value]) => {
    const have = Object.hasOwn(labels, key) ? labels[key] : "";
    return have === value || have === renderTemplate(value, values);
  });
}

/** The labels an endpoint carries under one service; empty if none. */
export function labelsUnder(endpoint: NetworkServiceEndpoint, service: string): Labels {
  const all = endpoint.network_service_labels;
  return Object.hasOwn(all, service) ? (all[service]?.labels ?? {}) : {};
}

/**
 * The endpoints that the service's `matches` allow to a connection, in the order given; one that two routes of the
 * deciding match allow appears twice. Expired endpoints are the caller's to drop.
 * @param labels  the connection's labels
 */
export function selectCandidates(
  service: NetworkService,
  endpoints: readonly NetworkServiceEndpoint[],
  labels: Labels,
  explain: Explain = () => {},
): NetworkServiceEndpoint[] {
  if (service.matches.length === 0) return chosen(endpoints, "the service has no matches", explain);
  for (const [index, match] of service.matches.entries()) {
    if (!satisfies(labels, match.source_selector, labels)) continue;
    const rule = `match ${index + 1} of service ${service.name}`;
    const found = match.routes.flatMap((route) =>
      endpoints.filter((endpoint) => satisfies(labelsUnder(endpoint, service.name), route.destination_selector, labels)),
    );
    for (const endpoint of endpoints) {
      if (!found.includes(endpoint) && match.routes.length > 0) {
        explain(endpoint.name, "REFUSED", `${rule}: its labels satisfy none of the ${match.routes.length} routes`);
      }
    }
    if (found.length > 0) return chosen(found, rule, explain);
    if (match.fallthrough) continue;
    if (match.routes.length === 0 && match.metadata !== undefined) {
      return chosen(endpoints, `${rule} has no routes, only labels for the forwarder`, explain);
    }
    return [];
  }
  return [];
}

function chosen(endpoints: readonly NetworkServiceEndpoint[], rule: string, explain: Explain): NetworkServiceEndpoint[] {
  for (const endpoint of new Set(endpoints)) explain(endpoint.name, "CHOSEN", rule);
  return endpoints.slice();
}

/** What a match without labels for the forwarder asks of one. */
const pointToPoint: Labels = { p2p: "true" };

/**
 * The labels a forwarder must have for a connection: sets to try in order, the next one only when no forwarder
 * satisfies the one before. Empty: the service's matches allow none. `[{}]`: any forwarder. Templates in them are replaced, so
 * that `{plane: "{{.plane}}"}` lets a request name its forwarder by its own label.
 * @param labels  the connection's labels; also the values of templates
 */
export function forwarderLabelsFor(service: NetworkService, labels: Labels): Labels[] {
  if (service.matches.length === 0) return [{}];
  const sets: Labels[] = [];
  for (const match of service.matches) {
    if (!satisfies(labels, match.source_selector, labels)) continue;
    const wanted = Object.entries(match.metadata?.labels ?? {});
    const rendered = Object.fromEntries(wanted.map(([key, value]) => [key, renderTemplate(value, labels)]));
    sets.push(wanted.length === 0 ? pointToPoint : rendered);
    if (!match.fallthrough) break;
  }
  return sets;
}
