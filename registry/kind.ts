/** The two kinds of entries a registry holds, and what the store needs to know of each. */
import { type NetworkServiceLabels as Labels, NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { matchesEndpoint, matchesService } from "../sdk/registry/match.js";

export type Entry = NetworkService | NetworkServiceEndpoint;

export interface Kind<T extends Entry> {
  /** In texts for people. */
  readonly noun: string;
  readonly encode: (entry: T) => Uint8Array;
  /** @throws Error when the bytes are no such message */
  readonly decode: (bytes: Uint8Array) => T;
  readonly matches: (query: T, entry: T) => boolean;
  /** The network services an entry (or a query) names. */
  readonly services: (entry: T) => readonly string[];
  /** Empty: none. */
  readonly url: (entry: T) => string;
  /** A copy for long keeping: no empty containers, and every part that `like` has too is shared with it. */
  readonly compact: (entry: T, like: T | undefined) => T;
}

const none: readonly string[] = [];

export const serviceKind: Kind<NetworkService> = {
  noun: "network service",
  encode: (entry) => NetworkService.encode(entry).finish(),
  decode: (bytes) => NetworkService.decode(bytes),
  matches: matchesService,
  services: () => none,
  url: () => "",
  compact: (entry) => entry,
};

export const endpointKind: Kind<NetworkServiceEndpoint> = {
  noun: "endpoint",
  encode: (entry) => NetworkServiceEndpoint.encode(entry).finish(),
  decode: (bytes) => NetworkServiceEndpoint.decode(bytes),
  matches: matchesEndpoint,
  services: (entry) => entry.network_service_names,
  url: (entry) => entry.url,
  compact: compactEndpoint,
};

const noNames: string[] = [];
const noLabels: { [service: string]: Labels } = {};

function compactEndpoint(entry: NetworkServiceEndpoint, like: NetworkServiceEndpoint | undefined): NetworkServiceEndpoint {
  const first = entry.initial_registration_time;
  const likeFirst = like?.initial_registration_time;
  const sameFirst = first !== undefined && first.seconds === likeFirst?.seconds && first.nanos === likeFirst.nanos;
  const compacted: NetworkServiceEndpoint = {
    name: like?.name ?? entry.name,
    network_service_names: shareNames(entry.network_service_names, like?.network_service_names),
    network_service_labels: shareLabels(entry.network_service_labels, like?.network_service_labels),
    url: like?.url === entry.url ? like.url : entry.url,
    expiration_time: entry.expiration_time,
    initial_registration_time: sameFirst ? likeFirst : first,
    path_ids: shareNames(entry.path_ids, like?.path_ids),
  };
  // fields of a newer API pass through
  const unknown = entry._unknownFields;
  if (unknown !== undefined && Object.keys(unknown).length > 0) compacted._unknownFields = unknown;
  return compacted;
}

function shareNames(names: string[], like: string[] | undefined): string[] {
  if (names.length === 0) return noNames;
  const same = like !== undefined && like.length === names.length && names.every((name, i) => name === like[i]);
  return same ? like : names;
}

function shareLabels(all: { [service: string]: Labels }, like: { [service: string]: Labels } | undefined) {
  const services = Object.keys(all);
  if (services.length === 0) return noLabels;
  if (like !== undefined && sameLabels(all, like)) return like;
  const compacted: { [service: string]: Labels } = {};
  for (const [service, value] of Object.entries(all)) {
    const unknown = Object.keys(value._unknownFields ?? {}).length > 0;
    compacted[service] = unknown ? value : { labels: value.labels };
  }
  return compacted;
}

function sameLabels(a: { [service: string]: Labels }, b: { [service: string]: Labels }): boolean {
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => {
      if (!Object.hasOwn(b, key)) return false;
      const [left, right] = [a[key], b[key]];
      return left !== undefined && right !== undefined && sameSet(left, right);
    })
  );
}

function sameSet(a: Labels, b: Labels): boolean {
  const left = Object.entries(a.labels);
  const plain = Object.keys(a._unknownFields ?? {}).length + Object.keys(b._unknownFields ?? {}).length === 0;
  return (
    plain &&
    left.length === Object.keys(b.labels).length &&
    left.every(([key, value]) => Object.hasOwn(b.labels, key) && b.labels[key] === value)
  );
}
