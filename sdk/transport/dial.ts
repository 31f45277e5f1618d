/** Clients of every service, over pooled connections. One dialer per process. */
import type { Found, Registry } from "../api.js";
import type { Connection, ConnectionEvent, MonitorScopeSelector } from "../gen/connection.js";
import type { DrainAnswer, DrainRequest, ExplainRequest, Explanation, LogLevel, Report, ReportRequest } from "../gen/inspect.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import type { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import type { Identity } from "../identity/identity.js";
import { formatPathHeader, pathHeader } from "../registry/path-header.js";
import type { ServingStatus } from "../telemetry/health.js";
import { type Log, silentLog } from "../telemetry/log.js";
import { type Address, parseAddress } from "./address.js";
import { type Caller, type CallOptions, createCaller, longestCallMs } from "./call.js";
import { createChannelPool } from "./channel-pool.js";
import type { PassDescriptors } from "./descriptors/take-over.js";
import { methods } from "./methods.js";

export interface ConnectionClient {
  request(request: NetworkServiceRequest, call: CallOptions): Promise<Connection>;
  close(connection: Connection, call: CallOptions): Promise<void>;
}

/** A registry at the other end of a wire: its calls may also carry deadline, trace and headers. */
export interface RemoteRegistry<T> extends Registry<T> {
  register(entry: T, options: CallOptions): Promise<T>;
  unregister(entry: T, options: CallOptions): Promise<void>;
  find(query: T, options: CallOptions & { watch: boolean }): AsyncIterable<Found<T>>;
}

export interface InspectClient {
  explain(request: ExplainRequest, call: CallOptions): Promise<Explanation>;
  getReport(request: ReportRequest, call: CallOptions): Promise<Report>;
  setLogLevel(request: LogLevel, call: CallOptions): Promise<LogLevel>;
  drain(request: DrainRequest, call: CallOptions): Promise<DrainAnswer>;
}

export interface Dialer {
  connections(url: string): ConnectionClient;
  /** Ends with a status error however the stream ends, except when the other end closes it with OK. */
  monitor(url: string, selector: MonitorScopeSelector, signal: AbortSignal): AsyncIterable<ConnectionEvent>;
  serviceRegistry(url: string): RemoteRegistry<NetworkService>;
  endpointRegistry(url: string): RemoteRegistry<NetworkServiceEndpoint>;
  /** NOT_FOUND for a service that the other end does not know. */
  health(url: string, service: string, signal: AbortSignal): Promise<ServingStatus>;
  inspect(url: string): InspectClient;
  /** Ends all calls and connections. */
  close(): void;
}

export interface DialerOptions {
  /** Absent = plain text; else mutual TLS, and a token in every call. */
  readonly identity?: Identity | undefined;
  /** Hears of servers that are not trusted; default: nobody. */
  readonly log?: Log | undefined;
  /** Time for a target to accept a connection and speak HTTP/2. */
  readonly dialTimeoutMs: number;
  readonly maxMessageBytes?: number | undefined;
  /** On unix sockets; default: where they are needed. */
  readonly passDescriptors?: PassDescriptors | undefined;
}

const emptyPath = formatPathHeader({ index: 0, tokens: [] });

/** Calls over gRPC, and what ends them all. */
export function remoteCaller(options: DialerOptions): { readonly caller: Caller; close(): void } {
  const pool = createChannelPool({
    identity: options.identity,
    log: options.log ?? silentLog,
    dialTimeoutMs: options.dialTimeoutMs,
    passDescriptors: options.passDescriptors,
    maxMessageBytes: options.maxMessageBytes ?? 4 * 1024 * 1024,
  });
  return { caller: createCaller(pool, options.identity), close: pool.close };
}

/** Every method throws INVALID_ARGUMENT for a malformed url. */
export function createDialer(options: DialerOptions): Dialer {
  const { caller, close } = remoteCaller(options);
  return dialerOver(caller, options.identity, close);
}

/** The same over anything that can call. */
export function dialerOver(call: Caller, identity: Identity | undefined, close: () => void): Dialer {
  const addressOf = rememberAddresses();
  const withPath = identity === undefined ? (options: CallOptions) => options : beginPath;
  return {
    connections(url) {
      const address = addressOf(url);
      return {
        request: (request, options) => call.unary(methods.request, address, request, options),
        async close(connection, options) {
          await call.unary(methods.close, address, connection, options);
        },
      };
    },
    monitor: (url, selector, signal) => call.stream(methods.monitor, addressOf(url), selector, { signal }),
    serviceRegistry(url) {
      const address = addressOf(url);
      return {
        register: (entry, options) => call.unary(methods.registerService, address, entry, withPath(options)),
        async unregister(entry, options) {
          await call.unary(methods.unregisterService, address, entry, withPath(options));
        },
        async *find(query, options) {
          const { watch } = options;
          for await (const answer of call.stream(
            methods.findServices,
            address,
            { network_service: query, watch },
            findOptions(options),
          )) {
            if (answer.network_service !== undefined) yield { entry: answer.network_service, deleted: answer.deleted };
          }
        },
      };
    },
    endpointRegistry(url) {
      const address = addressOf(url);
      return {
        register: (entry, options) => call.unary(methods.registerEndpoint, address, entry, withPath(options)),
        async unregister(entry, options) {
          await call.unary(methods.unregisterEndpoint, address, entry, withPath(options));
        },
        async *find(query, options) {
          const request = { network_service_endpoint: query, watch: options.watch };
          for await (const answer of call.stream(methods.findEndpoints, address, request, findOptions(options))) {
            const entry = answer.network_service_endpoint;
            if (entry !== undefined) yield { entry, deleted: answer.deleted };
          }
        },
      };
    },
    async health(url, service, signal) {
      return (await call.unary(methods.checkHealth, addressOf(url), { service }, { signal })).status;
    },
    inspect(url) {
      const address = addressOf(url);
      return {
        explain: (request, options) => call.unary(methods.explain, address, request, options),
        getReport: (request, options) => call.unary(methods.getReport, address, request, options),
        setLogLevel: (request, options) => call.unary(methods.setLogLevel, address, request, options),
        drain: (request, options) => call.unary(methods.drain, address, request, options),
      };
    },
    close,
  };
}

/**
 * Who makes an entry and has an identity begins its path: registries of NSM with policies refuse an entry that comes
 * without.
 */
function beginPath(options: CallOptions): CallOptions {
  return { ...options, metadata: { [pathHeader]: emptyPath, ...options.metadata } };
}

/** A Find that does not watch ends, or is ended. */
function findOptions<O extends CallOptions & { watch: boolean }>(options: O): CallOptions {
  return options.watch ? options : { ...options, deadlineMs: options.deadlineMs ?? Date.now() + longestCallMs };
}

/** Parses each url once; forgets all when there are too many, which only costs parsing them again. */
function rememberAddresses(): (url: string) => Address {
  const known = new Map<string, Address>();
  return (url) => {
    let address = known.get(url);
    if (address === undefined) {
      address = parseAddress(url);
      if (known.size >= 4096) known.clear();
      known.set(url, address);
    }
    return address;
  };
}
