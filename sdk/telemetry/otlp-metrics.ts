/**
 * Metrics pushed to an OpenTelemetry collector by OTLP over gRPC. The numbers stay in prom-client; at each interval
 * they are translated. Imported only when TELEMETRY is on.
 */
import { ValueType } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import type { MetricObjectWithValues, MetricValue, MetricValueWithName } from "prom-client";
import type { Metrics } from "./metrics.js";
import { collectorAddress } from "./otlp-traces.js";

type Time = [seconds: number, nanoseconds: number];

export function startOtlpMetrics(options: {
  readonly metrics: Metrics;
  readonly service: string;
  readonly endpoint: string;
  readonly intervalMs: number;
}): { stop(): Promise<void> } {
  const resource = resourceFromAttributes({ "service.name": options.service });
  const startTime = now();
  const reader = new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(collectorAddress(options.endpoint)),
    exportIntervalMillis: Math.max(100, options.intervalMs),
    exportTimeoutMillis: Math.max(100, Math.min(options.intervalMs, 5000)),
    metricProducers: [
      {
        async collect(): Promise<CollectionResult> {
          const families = await options.metrics.registry.getMetricsAsJSON();
          const metrics = families.flatMap((family) => translate(family as Family, startTime, now()));
          return { resourceMetrics: { resource, scopeMetrics: [{ scope: { name: "weft" }, metrics }] }, errors: [] };
        },
      },
    ],
  });
  const provider = new MeterProvider({ resource, readers: [reader] });
  return { stop: async () => provider.shutdown().catch(() => {}) };
}

type Family = MetricObjectWithValues<MetricValue<string>>;

/** One prom-client family as OTLP data: counters → monotonic sums, histograms → histograms, the rest → gauges. */
export function translate(family: Family, startTime: Time, endTime: Time): MetricData[] {
  const times = { startTime, endTime };
  const descriptor = { name: family.name, description: family.help, unit: "", valueType: ValueType.DOUBLE };
  const common = { descriptor, aggregationTemporality: AggregationTemporality.CUMULATIVE };
  const kind = String(family.type);
  if (kind === "histogram") {
    const dataPoints = histogramPoints(family.values as MetricValueWithName<string>[]).map((point) => ({ ...times, ...point }));
    return [{ ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints }];
  }
  const dataPoints = family.values.map(({ labels, value }) => ({ ...times, attributes: attributesOf(labels), value }));
  if (kind === "counter") return [{ ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }];
  return [{ ...common, dataPointType: DataPointType.GAUGE, dataPoints }];
}

/** prom-client's buckets count everything up to their bound; OTLP's count what lies between two bounds. */
function histogramPoints(values: readonly MetricValueWithName<string>[]) {
  const series = new Map<
    string,
    { attributes: Record<string, string>; bounds: [number, number][]; sum: number; count: number }
  >();
  for (const { labels, value, metricName } of values) {
    const { le, ...rest } = labels as Record<string, string | number>;
    const attributes = attributesOf(rest);
    const key = JSON.stringify(Object.entries(attributes).sort());
    const entry = series.get(key) ?? { attributes, bounds: [], sum: 0, count: 0 };
    series.set(key, entry);
    if (metricName?.endsWith("_sum")) entry.sum = value;
    else if (metricName?.endsWith("_count")) entry.count = value;
    else if (le !== "+Inf") entry.bounds.push([Number(le), value]);
  }
  return [...series.values()].map(({ attributes, bounds, sum, count }) => {
    bounds.sort((a, b) => a[0] - b[0]);
    const cumulative = [0, ...bounds.map(([, upTo]) => upTo), count];
    const counts = cumulative.slice(1).map((upTo, index) => upTo - (cumulative[index] ?? 0));
    return { attributes, value: { buckets: { boundaries: bounds.map(([bound]) => bound), counts }, sum, count } };
  });
}

function attributesOf(labels: object): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, String(value)]));
}

function now(): Time {
  const ms = Date.now();
  return [Math.floor(ms / 1000), (ms % 1000) * 1_000_000];
}
