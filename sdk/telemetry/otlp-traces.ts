/**
 * Spans sent to an OpenTelemetry collector by OTLP over gRPC. Imported only when TELEMETRY is on: the OpenTelemetry
 * packages cost 30 MB of memory that a component without a collector should not pay.
 */

import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import type { Tracer } from "./observe.js";
import { formatTraceparent, parseTraceparent } from "./traceparent.js";

/**
 * @param options.endpoint  host:port, http(s)://host:port or unix:///path of the collector; without https the link is not encrypted
 */
export function startOtlpTraces(options: {
  readonly service: string;
  readonly endpoint: string;
  readonly attributes?: Readonly<Record<string, string>>;
}): { readonly tracer: Tracer; stop(): Promise<void> } {
  const exporter = new OTLPTraceExporter(collectorAddress(options.endpoint));
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": options.service, ...options.attributes }),
    spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: 1000, exportTimeoutMillis: 5000 })],
  });
  const otel = provider.getTracer("weft");
  return {
    tracer: {
      start(name, parent, { server, attributes }) {
        const span = otel.startSpan(
          name,
          { kind: server ? SpanKind.SERVER : SpanKind.INTERNAL, attributes },
          parentContext(parent),
        );
        const { traceId, spanId, traceFlags } = span.spanContext();
        return {
          traceparent: formatTraceparent({ traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 }),
          end(failure) {
            if (failure !== undefined) {
              span.setAttribute("rpc.grpc.status", failure.code);
              span.setStatus({ code: SpanStatusCode.ERROR, message: failure.message });
            }
            span.end();
          },
        };
      },
    },
    // sends what is pending; a collector that is gone must not fail or hold up the shutdown
    stop: async () => provider.shutdown().catch(() => {}),
  };
}

/** Address of the collector in the exporters' terms: they want a scheme; the setting is host:port as upstream writes it, or one of ours. */
export function collectorAddress(endpoint: string): { readonly url: string; readonly credentials: ChannelCredentials } {
  const url = /^(https?|unix):\/\//.test(endpoint) ? endpoint : `http://${endpoint}`;
  return { url, credentials: url.startsWith("https:") ? credentials.createSsl() : credentials.createInsecure() };
}

function parentContext(traceparent: string | undefined): Context {
  const parent = parseTraceparent(traceparent);
  if (parent === undefined) return ROOT_CONTEXT;
  // whoever has a collector records, even below a caller that has none
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: parent.traceId,
    spanId: parent.spanId,
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
}
