/**
 * A small OpenTelemetry collector for tests: takes spans and metrics by OTLP over gRPC and keeps what tests ask about.
 * Field numbers: opentelemetry-proto, trace/v1/trace.proto and metrics/v1/metrics.proto.
 */
import { EventEmitter, on } from "node:events";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from "@grpc/grpc-js";

export interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
}

export interface OtlpCollector {
  /** host:port or unix:///path, as NSM_OPEN_TELEMETRY_ENDPOINT wants it. */
  readonly endpoint: string;
  readonly spans: readonly CollectedSpan[];
  /** Names of the metrics received so far. */
  readonly metricNames: ReadonlySet<string>;
  /** Resolves when the condition holds; it is checked after each export. */
  until(condition: () => boolean, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** @param where  unix:///path, which every network namespace reaches, or host:0 */
export async function startOtlpCollector(where = "127.0.0.1:0"): Promise<OtlpCollector> {
  const spans: CollectedSpan[] = [];
  const metricNames = new Set<string>();
  const changes = new EventEmitter();
  const server = new Server();
  server.addService(...exportService("trace", "TraceService", (body) => collectSpans(body, spans), changes));
  server.addService(...exportService("metrics", "MetricsService", (body) => collectMetrics(body, metricNames), changes));
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(where, ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return {
    endpoint: where.startsWith("unix:") ? where : where.replace(/0$/, String(port)),
    spans,
    metricNames,
    async until(condition, signal) {
      const exports = on(changes, "export", { signal });
      if (condition()) return;
      for await (const _ of exports) if (condition()) return;
    },
    stop: async () => server.forceShutdown(),
  };
}

function exportService(
  kind: string,
  service: string,
  collect: (body: Uint8Array) => void,
  changes: EventEmitter,
): [ServiceDefinition, UntypedServiceImplementation] {
  const same = (bytes: Buffer): Buffer => bytes;
  const definition: ServiceDefinition = {
    Export: {
      path: `/opentelemetry.proto.collector.${kind}.v1.${service}/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };
  const implementation: UntypedServiceImplementation = {
    Export(call: { request: Buffer }, reply: (error: null, answer: Buffer) => void) {
      collect(call.request);
      reply(null, Buffer.alloc(0));
      changes.emit("export");
    },
  };
  return [definition, implementation];
}

/** The length-delimited fields of a message, by number. */
function fields(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const found = new Map<number, Uint8Array[]>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) found.set(number, [...(found.get(number) ?? []), reader.bytes()]);
    else reader.skip(type, number);
  }
  return found;
}
const utf8 = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("utf8");
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

function collectSpans(body: Uint8Array, spans: CollectedSpan[]): void {
  for (const resourceSpans of fields(body).get(1) ?? []) {
    const outer = fields(resourceSpans);
    const service = serviceName(outer.get(1)?.[0]);
    for (const scopeSpans of outer.get(2) ?? []) {
      for (const span of fields(scopeSpans).get(2) ?? []) {
        const inner = fields(span);
        spans.push({
          service,
          name: utf8(inner.get(5)?.[0]),
          traceId: hex(inner.get(1)?.[0]),
          spanId: hex(inner.get(2)?.[0]),
          parentSpanId: hex(inner.get(4)?.[0]),
        });
      }
    }
  }
}

function serviceName(resource: Uint8Array | undefined): string {
  for (const attribute of fields(resource ?? new Uint8Array()).get(1) ?? []) {
    const pair = fields(attribute);
    if (utf8(pair.get(1)?.[0]) === "service.name") return utf8(fields(pair.get(2)?.[0] ?? new Uint8Array()).get(1)?.[0]);
  }
  return "";
}

function collectMetrics(body: Uint8Array, names: Set<string>): void {
  for (const resourceMetrics of fields(body).get(1) ?? []) {
    for (const scopeMetrics of fields(resourceMetrics).get(2) ?? []) {
      for (const metric of fields(scopeMetrics).get(2) ?? []) names.add(utf8(fields(metric).get(1)?.[0]));
    }
  }
}
