/** The two kinds of entries a registry holds, and what the store needs to know of each. */
import { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { matchesEndpoint, matchesService } from "../sdk/registry/match.js";
import { compactEndpoint, onlyLeaseDiffers } from "./compact.js";

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
  /** A copy for long keeping; parts that are equal in `like` are shared with it. */
  readonly compact: (entry: T, like: T | undefined) => T;
  /** Is `next` (compact, made like `previous`) the same but for the end of its lease? */
  readonly onlyLeaseDiffers: (previous: T, next: T) => boolean;
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
  onlyLeaseDiffers: () => false,
};

export const endpointKind: Kind<NetworkServiceEndpoint> = {
  noun: "endpoint",
  encode: (entry) => NetworkServiceEndpoint.encode(entry).finish(),
  decode: (bytes) => NetworkServiceEndpoint.decode(bytes),
  matches: matchesEndpoint,
  services: (entry) => entry.network_service_names,
  url: (entry) => entry.url,
  compact: compactEndpoint,
  onlyLeaseDiffers,
};
