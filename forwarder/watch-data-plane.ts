/** Carries what happens in the data plane to those who watch: broken links as state DOWN, counters as metrics. */
import type { Clock, Disarm } from "../sdk/clock.js";
import { State } from "../sdk/gen/connection.js";
import { asBroken } from "../sdk/monitor/broken.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { currentSegment } from "../sdk/path.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Metrics } from "../sdk/telemetry/metrics.js";
import type { Connections } from "./connections.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { withPortMetrics } from "./path-metrics.js";

/** Tells watchers that a connection is DOWN as soon as one of its links is. Ends with the signal; never rejects. */
export async function reportBroken(options: {
  readonly dataPlane: Pick<DataPlane, "events">;
  readonly hub: Pick<MonitorHub, "get" | "publish">;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { dataPlane, hub, log, signal } = options;
  try {
    for await (const { id, reason } of dataPlane.events(signal)) {
      const connection = hub.get(id);
      if (connection === undefined) continue;
      log.warn(`the connection is broken: ${reason}`, { connectionId: id });
      hub.publish(asBroken(connection, reason));
    }
  } catch (error) {
    if (!signal.aborted) log.error("events of the data plane have ended; broken links are not reported any more", { error });
  }
}

/** Asks the clients of all encrypted connections to refresh them now (NSM: state REFRESH_REQUESTED); how many there are. */
export function askForRefresh({
  dataPlane,
  hub,
}: {
  readonly dataPlane: Pick<DataPlane, "list">;
  readonly hub: Pick<MonitorHub, "get" | "publish">;
}): number {
  const encrypted = dataPlane.list().filter(({ endpoint }) => endpoint.kind === "wireguard");
  for (const { id } of encrypted) {
    const connection = hub.get(id);
    if (connection !== undefined) hub.publish({ ...connection, state: State.REFRESH_REQUESTED });
  }
  return encrypted.length;
}

/** Publishes the counters of every connection at a steady pace. The result stops it. */
export function publishCounters(options: {
  readonly dataPlane: Pick<DataPlane, "list" | "counters">;
  readonly connections: Connections;
  readonly metrics: Pick<Metrics, "recordConnection" | "forgetConnection">;
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly log: Log;
}): () => void {
  const { dataPlane, connections, metrics, clock, intervalMs, log } = options;
  let published = new Set<string>();
  let stopped = false;
  let disarm: Disarm = () => {};

  async function publish(): Promise<void> {
    const now = new Set<string>();
    for (const crossConnect of dataPlane.list()) {
      const answered = connections.get(crossConnect.id)?.answered;
      const counters = await dataPlane.counters(crossConnect.id);
      if (stopped || answered === undefined || counters === undefined) continue;
      const segment = currentSegment(withPortMetrics(answered, crossConnect, counters));
      metrics.recordConnection({ ...answered, path: { index: 0, path_segments: segment === undefined ? [] : [segment] } });
      now.add(crossConnect.id);
    }
    for (const id of published) if (!now.has(id)) metrics.forgetConnection(id);
    published = now;
  }

  const arm = (): void => {
    if (stopped) return;
    disarm = clock.at(clock.nowMs() + intervalMs, () => {
      publish()
        .catch((error) => log.warn("counters could not be read", { error }))
        .finally(arm);
    });
  };
  arm();
  return () => {
    stopped = true;
    disarm();
  };
}
