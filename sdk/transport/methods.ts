/** Every remote method of Weft, once, for both ends: its path on the wire and how its messages are encoded. */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Connection, ConnectionEvent, MonitorScopeSelector } from "../gen/connection.js";
import { Empty } from "../gen/google/protobuf/empty.js";
import { HealthCheckRequest, HealthCheckResponse } from "../gen/health.js";
import { DrainAnswer, DrainRequest, ExplainRequest, Explanation, LogLevel, Report, ReportRequest } from "../gen/inspect.js";
import { PrefixRequest, PrefixResponse } from "../gen/ipam.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
  NetworkServiceQuery,
  NetworkServiceResponse,
} from "../gen/registry.js";
import { Code, type StatusError, statusError } from "../status.js";

export interface Codec<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
  decode(bytes: Uint8Array): T;
}

export interface Method<I, O> {
  readonly path: string;
  readonly responseStream: boolean;
  readonly request: Codec<I>;
  readonly response: Codec<O>;
}

/** Names of the services, as in paths and in health checks. */
export const serviceNames = {
  connection: "networkservice.NetworkService",
  monitor: "connection.MonitorConnection",
  services: "registry.NetworkServiceRegistry",
  endpoints: "registry.NetworkServiceEndpointRegistry",
  health: "grpc.health.v1.Health",
  ipam: "ipam.IPAM",
  inspect: "weft.Inspect",
} as const;

export const methods = {
  request: unary(serviceNames.connection, "Request", NetworkServiceRequest, Connection),
  close: unary(serviceNames.connection, "Close", Connection, Empty),
  monitor: stream(serviceNames.monitor, "MonitorConnections", MonitorScopeSelector, ConnectionEvent),
  registerService: unary(serviceNames.services, "Register", NetworkService, NetworkService),
  unregisterService: unary(serviceNames.services, "Unregister", NetworkService, Empty),
  findServices: stream(serviceNames.services, "Find", NetworkServiceQuery, NetworkServiceResponse),
  registerEndpoint: unary(serviceNames.endpoints, "Register", NetworkServiceEndpoint, NetworkServiceEndpoint),
  unregisterEndpoint: unary(serviceNames.endpoints, "Unregister", NetworkServiceEndpoint, Empty),
  findEndpoints: stream(serviceNames.endpoints, "Find", NetworkServiceEndpointQuery, NetworkServiceEndpointResponse),
  managePrefixes: stream(serviceNames.ipam, "ManagePrefixes", PrefixRequest, PrefixResponse),
  checkHealth: unary(serviceNames.health, "Check", HealthCheckRequest, HealthCheckResponse),
  watchHealth: stream(serviceNames.health, "Watch", HealthCheckRequest, HealthCheckResponse),
  explain: unary(serviceNames.inspect, "Explain", ExplainRequest, Explanation),
  getReport: unary(serviceNames.inspect, "GetReport", ReportRequest, Report),
  setLogLevel: unary(serviceNames.inspect, "SetLogLevel", LogLevel, LogLevel),
  drain: unary(serviceNames.inspect, "Drain", DrainRequest, DrainAnswer),
} as const;

/** One writer for all messages: its buffer has grown to their size and need not grow again. Encoding is never interrupted. */
let writer = new BinaryWriter();
/** A writer that has seen a larger message is not kept. */
const maxKeptBytes = 64 * 1024;

export function encodeMessage<T>(codec: Codec<T>, message: T): Buffer {
  let bytes: Uint8Array | undefined;
  try {
    bytes = codec.encode(message, writer).finish();
  } finally {
    if (bytes === undefined || bytes.length > maxKeptBytes) writer = new BinaryWriter();
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A request that could not be decoded travels as a value: thrown inside gRPC it would end as INTERNAL without a reason. */
export interface Malformed {
  readonly malformed: StatusError;
}

export function isMalformed(input: unknown): input is Malformed {
  return typeof input === "object" && input !== null && Object.hasOwn(input, "malformed");
}

/** Decodes what a stranger sent. */
export function decodeRequest<T>(method: Method<T, unknown>, bytes: Buffer): T | Malformed {
  // A map key __proto__ would vanish into the prototype of the map and be lost on the way through.
  if (bytes.includes("__proto__")) {
    return { malformed: statusError(Code.INVALID_ARGUMENT, `${method.path}: the name __proto__ is not allowed anywhere`) };
  }
  try {
    return method.request.decode(bytes);
  } catch (error) {
    const text = `${method.path}: the request is no valid protobuf message: ${(error as Error).message}`;
    return { malformed: statusError(Code.INVALID_ARGUMENT, text, error) };
  }
}

function unary<I, O>(service: string, name: string, request: Codec<I>, response: Codec<O>): Method<I, O> {
  return { path: `/${service}/${name}`, responseStream: false, request, response };
}

function stream<I, O>(service: string, name: string, request: Codec<I>, response: Codec<O>): Method<I, O> {
  return { path: `/${service}/${name}`, responseStream: true, request, response };
}
