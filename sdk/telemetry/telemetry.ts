/**
 * Everything by which a component shows what it does, started by one call in main.ts: log, log level by signal,
 * traces, metrics by scrape and by OTLP.
 */
import type { ChainObserver } from "../chain.js";
import { createHealth, type Health } from "./health.js";
import { createLog, type Log, type LogDestination, type LogLevel } from "./log.js";
import { followLogSignals } from "./log-signals.js";
import type { Metrics } from "./metrics.js";
import { createObserver, type Tracer } from "./observe.js";
import { serveHealth } from "./serve-health.js";

/** The values of `commonSettings` (sdk/config/common.ts) that concern telemetry. */
export interface TelemetrySettings {
  readonly logLevel: LogLevel;
  readonly telemetry: boolean;
  readonly openTelemetryEndpoint: string;
  readonly metricsExportIntervalMs: number;
  readonly prometheus: boolean;
  readonly prometheusListenOn: string;
  /** Undefined: health is told by gRPC only. */
  readonly healthListenOn?: string | undefined;
}

export interface Telemetry {
  readonly log: Log;
  /** For every chain of the component. */
  readonly observer: ChainObserver;
  /** Undefined when nobody asks for them: neither a scrape nor a collector. */
  readonly metrics: Metrics | undefined;
  /** What probes are told; the component sets it. */
  readonly health: Health;
  /** Where metrics can be scraped; undefined = not served. */
  readonly metricsUrl: string | undefined;
  /** Sends what is pending and lets go of signals and sockets. */
  stop(): Promise<void>;
}

/**
 * @param options.name  the component's name, in every line, span and metric
 * @throws FAILED_PRECONDITION when the address of metrics or health cannot be bound
 */
export async function startTelemetry(options: {
  readonly name: string;
  readonly settings: TelemetrySettings;
  readonly destination?: LogDestination;
}): Promise<Telemetry> {
  const { name, settings, destination } = options;
  const log = createLog({ name, level: settings.logLevel, ...(destination === undefined ? {} : { destination }) });
  // loaded only when somebody looks: it takes three megabytes
  const counting = settings.telemetry || settings.prometheus ? await import("./metrics.js") : undefined;
  const metrics = counting?.createMetrics(name);
  const health = createHealth();
  const stops: (() => void | Promise<void>)[] = [followLogSignals(log)];
  const stop = async (): Promise<void> => {
    for (const undo of stops.splice(0).reverse()) await undo();
  };
  let tracer: Tracer | undefined;
  let metricsUrl: string | undefined;
  try {
    if (settings.healthListenOn !== undefined) {
      const server = await serveHealth(health, settings.healthListenOn);
      stops.push(server.stop);
      log.info("health is served", { url: server.url });
    }
    if (metrics !== undefined) counting?.collectProcessMetrics(metrics);
    if (settings.telemetry && metrics !== undefined) {
      const { startOtlpTraces } = await import("./otlp-traces.js");
      const { startOtlpMetrics } = await import("./otlp-metrics.js");
      const endpoint = settings.openTelemetryEndpoint;
      const traces = startOtlpTraces({ service: name, endpoint });
      tracer = traces.tracer;
      stops.push(traces.stop);
      stops.push(startOtlpMetrics({ metrics, service: name, endpoint, intervalMs: settings.metricsExportIntervalMs }).stop);
    }
    if (settings.prometheus && metrics !== undefined && counting !== undefined) {
      const server = await counting.serveMetrics(metrics, settings.prometheusListenOn);
      metricsUrl = server.url;
      stops.push(server.stop);
      log.info("metrics are served", { url: server.url });
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { log, observer: createObserver({ log, tracer, meter: metrics?.calls }), metrics, health, metricsUrl, stop };
}
