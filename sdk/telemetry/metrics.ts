/**
 * Metrics of a component. prom-client keeps the numbers; they leave by a Prometheus scrape (here) or by OTLP
 * (otlp-metrics.ts). Names: weft_<what>_<unit>.
 */
import { createServer } from "node:http";
import { collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Connection } from "../gen/connection.js";
import { Code, statusError } from "../status.js";
import { splitHostPort } from "./listen-address.js";
import type { CallMeter } from "./observe.js";

export interface Metrics {
  /** For gauges and counters of the component itself: pass as `registers: [metrics.registry]`. */
  readonly registry: Registry;
  readonly calls: CallMeter;
  /** From now on the numbers that the path of this connection carries are published; replaces its earlier ones. */
  recordConnection(connection: Connection): void;
  forgetConnection(connectionId: string): void;
}

export function createMetrics(component: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ component });
  const duration = new Histogram({
    name: "weft_call_duration_seconds",
    help: "Time to answer a call, by chain, method and gRPC code",
    labelNames: ["chain", "method", "code"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15],
    registers: [registry],
  });
  // connections change far more often than anybody looks: keeping the newest is all that happens until a scrape
  const connections = new Map<string, Connection>();
  new Gauge({
    name: "weft_connection_metric",
    help: "Counters that the hops of a connection report in its path: bytes, packets, drops",
    labelNames: ["connection", "network_service", "segment", "metric"],
    registers: [registry],
    collect() {
      this.reset();
      for (const connection of connections.values()) {
        for (const { labels, value } of pathMetrics(connection)) this.set(labels, value);
      }
    },
  });
  return {
    registry,
    calls: {
      observe: (chain, method, code, durationMs) => duration.observe({ chain, method, code }, durationMs / 1000),
    },
    recordConnection: (connection) => void connections.set(connection.id, connection),
    forgetConnection: (connectionId) => void connections.delete(connectionId),
  };
}

/** The numbers in the path; texts (interface names) are left out. */
function* pathMetrics(connection: Connection): Iterable<{ labels: Record<string, string>; value: number }> {
  const about = { connection: connection.id, network_service: connection.network_service };
  for (const segment of connection.path?.path_segments ?? []) {
    for (const [metric, text] of Object.entries(segment.metrics)) {
      const value = Number(text);
      if (text !== "" && Number.isFinite(value)) yield { labels: { ...about, segment: segment.name, metric }, value };
    }
  }
}

/** Adds the figures of the process itself: CPU, memory, event-loop lag, garbage collection. */
export function collectProcessMetrics(metrics: Metrics): void {
  collectDefaultMetrics({ register: metrics.registry });
}

/**
 * Serves GET /metrics in Prometheus' text format.
 * @param listenOn  ":8081", "host:port" or "tcp://host:port"; port 0 takes a free one
 * @throws FAILED_PRECONDITION when the address cannot be bound
 */
export async function serveMetrics(metrics: Metrics, listenOn: string): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const { host, port } = splitHostPort("PROMETHEUS_LISTEN_ON", listenOn);
  const server = createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if ((request.method !== "GET" && request.method !== "HEAD") || path !== "/metrics") {
      response.writeHead(404, { "content-type": "text/plain" }).end("only GET /metrics is served here\n");
      return;
    }
    metrics.registry.metrics().then(
      (text) => response.writeHead(200, { "content-type": metrics.registry.contentType }).end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        statusError(
          Code.FAILED_PRECONDITION,
          `metrics cannot be served on ${listenOn} (${error.message}); set PROMETHEUS_LISTEN_ON to a free address`,
          error,
        ),
      ),
    );
    server.listen({ port, ...(host === "" ? {} : { host }) }, resolve);
  });
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
  return {
    url: `http://${host === "" ? "localhost" : host.includes(":") ? `[${host}]` : host}:${boundPort}/metrics`,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
