/** The connections that the node's manager holds, for pods whose own client connects them. */
import { systemClock } from "../../sdk/clock.js";
import { type Connection, ConnectionEventType, MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { pause } from "../../sdk/registry/pause.js";
import { toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import type { Dialer } from "../../sdk/transport/dial.js";

const pauseMs = 1_000;

/** Keeps `shown` equal to what the manager shows until the signal aborts; `onChange` is told with the name of the client. */
export async function followManager(options: {
  readonly dialer: Dialer;
  readonly url: string;
  readonly shown: Map<string, Connection>;
  readonly onChange: (client: string) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { dialer, url, shown, onChange, log, signal } = options;
  const tell = (connection: Connection): void => onChange(connection.path?.path_segments[0]?.name ?? "");
  while (!signal.aborted) {
    try {
      for await (const { type, connections } of dialer.monitor(url, MonitorScopeSelector.fromPartial({}), signal)) {
        if (type === ConnectionEventType.INITIAL_STATE_TRANSFER) {
          for (const [id, old] of [...shown]) {
            if (Object.hasOwn(connections, id)) continue;
            shown.delete(id);
            tell(old);
          }
        }
        for (const [id, connection] of Object.entries(connections)) {
          if (type === ConnectionEventType.DELETE) shown.delete(id);
          else shown.set(id, connection);
          tell(connection);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      // what was shown last stands: connections outlive their manager
      log.debug("the manager shows nothing", { error: toStatusError(error) });
    }
    await pause(systemClock, pauseMs, signal);
  }
}
