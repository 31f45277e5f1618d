/** Our services as gRPC bindings: what `listen` puts on a server. */
import type { ConnectionApi, Found, Registry, RegistryApi } from "../api.js";
import type { CallContext, Handler } from "../chain.js";
import { ConnectionEvent, type MonitorScopeSelector } from "../gen/connection.js";
import type { Empty } from "../gen/google/protobuf/empty.js";
import { HealthCheckResponse } from "../gen/health.js";
import type { DrainAnswer, DrainRequest, ExplainRequest, Explanation, LogLevel, Report, ReportRequest } from "../gen/inspect.js";
import type { PrefixRequest, PrefixResponse } from "../gen/ipam.js";
import {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointResponse,
  NetworkServiceResponse,
} from "../gen/registry.js";
import { Code, statusError } from "../status.js";
import { type Health, ServingStatus } from "../telemetry/health.js";
import { exchangeFiles, type FileKeeping, receiveSockets, sendSockets } from "./descriptors/server-calls.js";
import type { ServiceBinding } from "./edge.js";
import { methods, serviceNames } from "./methods.js";
import { sharedEncoder } from "./shared-encoder.js";

const empty: Empty = {};

/**
 * Request and Close. A request without a connection is given an empty one: the chain says what it misses.
 * @param keeping  of the files that come as descriptors
 */
export function connectionService(chain: Handler<ConnectionApi>, keeping?: FileKeeping): ServiceBinding {
  const handler = exchangeFiles(chain, keeping);
  return {
    name: serviceNames.connection,
    bind(edge) {
      edge.unary(methods.request, (request, context) => handler.request(request, context));
      edge.unary(methods.close, async (connection, context) => {
        await handler.close(connection, context);
        return empty;
      });
    },
  };
}

/** What a monitor of connections offers (monitor/hub.ts). */
export interface ConnectionWatch {
  subscribe(selector: MonitorScopeSelector, signal: AbortSignal, context: CallContext): AsyncIterable<ConnectionEvent>;
}

export function monitorService(hub: ConnectionWatch): ServiceBinding {
  return {
    name: serviceNames.monitor,
    bind(edge) {
      const encode = sharedEncoder<ConnectionEvent>(ConnectionEvent);
      edge.stream(methods.monitor, (selector, context) => hub.subscribe(selector, context.signal, context), encode);
    },
  };
}

/** Find of a registry as a service asks for it: with the caller's whole context. */
export type Find<T> = (
  query: T,
  options: { watch: boolean; signal: AbortSignal; context: CallContext },
) => AsyncIterable<Found<T>>;

export function serviceRegistryService(
  handler: Handler<RegistryApi<NetworkService>>,
  find: Find<NetworkService>,
): ServiceBinding {
  return {
    name: serviceNames.services,
    bind(edge) {
      edge.unary(methods.registerService, (entry, context) => handler.register(entry, context));
      edge.unary(methods.unregisterService, async (entry, context) => {
        await handler.unregister(entry, context);
        return empty;
      });
      const encode = sharedEncoder<NetworkServiceResponse>(NetworkServiceResponse);
      const answerOf = sharedAnswers<NetworkService, NetworkServiceResponse>(({ entry, deleted }) => ({
        network_service: entry,
        deleted,
      }));
      edge.stream(
        methods.findServices,
        ({ network_service, watch }, context) => {
          const query = network_service ?? NetworkService.fromPartial({});
          return mapEach(find(query, { watch, signal: context.signal, context }), answerOf);
        },
        encode,
      );
    },
  };
}

export function endpointRegistryService(
  chain: Handler<RegistryApi<NetworkServiceEndpoint>>,
  find: Find<NetworkServiceEndpoint>,
): ServiceBinding {
  const handler = receiveSockets(chain);
  return {
    name: serviceNames.endpoints,
    bind(edge) {
      edge.unary(methods.registerEndpoint, (entry, context) => handler.register(entry, context));
      edge.unary(methods.unregisterEndpoint, async (entry, context) => {
        await handler.unregister(entry, context);
        return empty;
      });
      const encode = sharedEncoder<NetworkServiceEndpointResponse>(NetworkServiceEndpointResponse);
      const answerOf = sharedAnswers<NetworkServiceEndpoint, NetworkServiceEndpointResponse>(({ entry, deleted }) => ({
        network_service_endpoint: entry,
        deleted,
      }));
      edge.stream(
        methods.findEndpoints,
        ({ network_service_endpoint, watch }, context) => {
          const query = network_service_endpoint ?? NetworkServiceEndpoint.fromPartial({});
          const found = find(query, { watch, signal: context.signal, context });
          return mapEach(sendSockets(found, context.peer), answerOf);
        },
        encode,
      );
    },
  };
}

/** Probes may ask for "" , for a part that `health` knows, or for the name of any service on the same server. */
export function healthService(health: Health): ServiceBinding {
  return {
    name: serviceNames.health,
    bind(edge) {
      const partOf = (service: string): string =>
        health.check(service) === ServingStatus.SERVICE_UNKNOWN && edge.services.includes(service) ? "" : service;
      edge.unary(methods.checkHealth, async ({ service }) => {
        const status = health.check(partOf(service));
        if (status === ServingStatus.SERVICE_UNKNOWN) {
          throw statusError(Code.NOT_FOUND, `unknown service "${service}"; known: ${edge.services.join(", ")}`);
        }
        return HealthCheckResponse.fromPartial({ status });
      });
      edge.stream(methods.watchHealth, ({ service }, { signal }) =>
        mapEach(health.watch(partOf(service), signal), (status) => HealthCheckResponse.fromPartial({ status })),
      );
    },
  };
}

/** Lends prefixes for as long as a stream lives (proto/ipam.proto). */
export interface PrefixLender {
  manage(requests: AsyncIterable<PrefixRequest>, context: CallContext): AsyncIterable<PrefixResponse>;
}

export function ipamService(lender: PrefixLender): ServiceBinding {
  return {
    name: serviceNames.ipam,
    bind: (edge) => edge.duplex(methods.managePrefixes, (requests, context) => lender.manage(requests, context)),
  };
}

/** What an operator may ask of a component (proto/inspect.proto). */
export interface Inspect {
  explain(request: ExplainRequest, context: CallContext): Promise<Explanation>;
  getReport(request: ReportRequest, context: CallContext): Promise<Report>;
  setLogLevel(request: LogLevel, context: CallContext): Promise<LogLevel>;
  /** Absent: it carries no connections. */
  drain?: ((request: DrainRequest, context: CallContext) => Promise<DrainAnswer>) | undefined;
}

export function inspectService(inspect: Inspect): ServiceBinding {
  return {
    name: serviceNames.inspect,
    bind(edge) {
      edge.unary(methods.explain, (request, context) => inspect.explain(request, context));
      edge.unary(methods.getReport, (request, context) => inspect.getReport(request, context));
      edge.unary(methods.setLogLevel, (request, context) => inspect.setLogLevel(request, context));
      edge.unary(methods.drain, async (request, context) => {
        if (inspect.drain === undefined) throw statusError(Code.UNIMPLEMENTED, "this component carries no connections to drain");
        return inspect.drain(request, context);
      });
    },
  };
}

/** The Find of a registry in the form that a service takes. */
export function findOf<T>(registry: Pick<Registry<T>, "find">): Find<T> {
  return (query, { watch, signal }) => registry.find(query, { watch, signal });
}

/** One answer object per event however many watchers get it, so that it is encoded once. */
function sharedAnswers<T, A extends object>(make: (found: Found<T>) => A): (found: Found<T>) => A {
  const known = new WeakMap<Found<T>, A>();
  return (found) => {
    let answer = known.get(found);
    if (answer === undefined) {
      answer = make(found);
      known.set(found, answer);
    }
    return answer;
  };
}

async function* mapEach<T, U>(items: AsyncIterable<T>, change: (item: T) => U): AsyncIterable<U> {
  for await (const item of items) yield change(item);
}
