/**
 * The APIs a chain can serve, each a table of its unary methods.
 * Streams (find, monitor) are not chains: they are async iterables with a signal.
 */
import type { Connection } from "./gen/connection.js";
import type { NetworkServiceRequest } from "./gen/networkservice.js";
import type { NetworkService, NetworkServiceEndpoint } from "./gen/registry.js";

/** Asking for a connection and giving it back (networkservice.NetworkService). */
export type ConnectionApi = {
  request: (request: NetworkServiceRequest) => Connection;
  close: (connection: Connection) => void;
};

/** Entering an object into a registry and taking it out. */
export type RegistryApi<T> = {
  register: (entry: T) => T;
  unregister: (entry: T) => void;
};
export type ServiceRegistryApi = RegistryApi<NetworkService>;
export type EndpointRegistryApi = RegistryApi<NetworkServiceEndpoint>;

/** One answer of Find: the whole object; on deletion the last stored object with `deleted`. */
export interface Found<T> {
  readonly entry: T;
  readonly deleted: boolean;
}

/** One kind of registry (services, or endpoints), as its users see it. */
export interface Registry<T> {
  /** `deadlineMs` (since the epoch) travels with the call; a registry of NSM's takes the time left off the entry's lease. */
  register(entry: T, options: { signal: AbortSignal; deadlineMs?: number | undefined }): Promise<T>;
  unregister(entry: T, options: { signal: AbortSignal }): Promise<void>;
  /**
   * Entries that match the query (rules: protocol, sdk/registry/match.ts). With `watch` it goes on with changes
   * until the signal aborts; without it ends after the current entries.
   */
  find(query: T, options: { watch: boolean; signal: AbortSignal }): AsyncIterable<Found<T>>;
}
export type ServiceRegistry = Registry<NetworkService>;
export type EndpointRegistry = Registry<NetworkServiceEndpoint>;

/** Mechanism types on the wire (`Mechanism.type`). */
export const MechanismType = {
  KERNEL: "KERNEL",
  MEMIF: "MEMIF",
  VXLAN: "VXLAN",
  WIREGUARD: "WIREGUARD",
  IPSEC: "IPSEC",
  VLAN: "VLAN",
  VFIO: "VFIO",
  NOOP: "NOOP",
} as const;
export type MechanismType = (typeof MechanismType)[keyof typeof MechanismType];

/** Mechanism classes on the wire (`Mechanism.cls`). */
export const MechanismClass = { LOCAL: "LOCAL", REMOTE: "REMOTE" } as const;
export type MechanismClass = (typeof MechanismClass)[keyof typeof MechanismClass];

/** Payloads on the wire (`Connection.payload`). */
export const Payload = { ETHERNET: "ETHERNET", IP: "IP" } as const;
export type Payload = (typeof Payload)[keyof typeof Payload];
