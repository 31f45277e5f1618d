/**
 * recover — what a restarted manager knew. It keeps no ledger: its forwarders do, and show it what came through it when they
 * register. Without this a client that restarts in the same moment would be a stranger, and its own interface in its way.
 * Does:   once for each forwarder: its connections that carry our name are stored, armed to expire and told to watchers as
 *         REFRESH_REQUESTED, so that their clients ask again and every hop watches the next one as before
 * Fails:  never; a forwarder that cannot be asked is asked again when it registers again
 */

import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, type Handler } from "../sdk/chain.js";
import { systemClock } from "../sdk/clock.js";
import type { Announcements } from "../sdk/elements/announce.js";
import type { Expire } from "../sdk/elements/expire.js";
import type { Serialize } from "../sdk/elements/serialize.js";
import { type Connection, MonitorScopeSelector, State } from "../sdk/gen/connection.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { pause } from "../sdk/registry/pause.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Dialer } from "../sdk/transport/dial.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export interface RecoverDeps {
  /** Own name in paths. */
  readonly name: string;
  readonly forwarderServiceName: string;
  readonly locals: LocalEndpoints;
  readonly dialer: Pick<Dialer, "monitor">;
  readonly hub: Pick<MonitorHub, "get">;
  readonly announcements: Pick<Announcements, "publish">;
  readonly serialize: Pick<Serialize, "restore">;
  readonly expire: Pick<Expire, "arm">;
  readonly handler: Handler<ConnectionApi>;
  readonly log: Log;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

/** A forwarder shows all it has at once; longer than this it has nothing more to show. */
const readTimeoutMs = 2_000;
/** As many as a full message of the initial state holds (sdk/monitor/hub.ts): then another one may follow. */
const fullMessage = 200;

/** A Request that is under way may fail, and what it was for would stay unknown: so the forwarder is asked again. Milliseconds. */
const againMs = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000] as const;

export function recoverConnections(deps: RecoverDeps): void {
  const { locals, forwarderServiceName, log } = deps;
  const asked = new Set<string>();
  locals.onChange((name, endpoint) => {
    if (endpoint === undefined || asked.has(name) || !endpoint.network_service_names.includes(forwarderServiceName)) return;
    asked.add(name);
    recoverFrom(endpoint.url, deps).then(
      (count) => {
        if (count > 0) log.info("connections of a former run are known again", { forwarder: name, connections: count });
      },
      (error) => {
        asked.delete(name);
        log.info("the forwarder does not show its connections yet", { forwarder: name, error });
      },
    );
  });
}

/** Until nothing is left that a Request under way keeps from being restored. @returns how many were restored */
async function recoverFrom(url: string, deps: RecoverDeps): Promise<number> {
  let { restored, busy } = await readFrom(url, deps);
  for (const pauseMs of againMs) {
    if (busy === 0 || !(await pause(systemClock, pauseMs, deps.signal))) break;
    // what was closed meanwhile is not shown any more
    const again = await readFrom(url, deps);
    restored += again.restored;
    busy = again.busy;
  }
  return restored;
}

async function readFrom(url: string, deps: RecoverDeps): Promise<{ restored: number; busy: number }> {
  const enough = new AbortController();
  const timer = setTimeout(() => enough.abort(), readTimeoutMs);
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ name: deps.name }] });
  let heard = false;
  const counts = { news: 0, known: 0, busy: 0 };
  try {
    for await (const { connections } of deps.dialer.monitor(url, selector, AbortSignal.any([enough.signal, deps.signal]))) {
      heard = true;
      const shown = Object.values(connections);
      for (const connection of shown) counts[restore(connection, deps)] += 1;
      if (shown.length < fullMessage) break;
    }
  } catch (error) {
    if (!heard) throw error;
  } finally {
    clearTimeout(timer);
    enough.abort();
  }
  return { restored: counts.news, busy: counts.busy };
}

/** @returns busy: a Request for it is under way, and its answer will say more, if it has one */
function restore(
  shown: Connection,
  { name, hub, announcements, serialize, expire, handler, log, signal }: RecoverDeps,
): "news" | "known" | "busy" {
  const { path } = shown;
  const index = (path?.index ?? 0) - 1;
  const own = path?.path_segments[index];
  if (path === undefined || own === undefined || own.name !== name || hub.get(own.id) !== undefined) return "known";
  const ours: Connection = { ...shown, id: own.id, path: { ...path, index }, state: State.UP };
  if (!serialize.restore(ours)) return "busy";
  expire.arm(ours, () => {
    handler.close(ours, backgroundCall(signal)).catch((error) => {
      log.warn("a connection of a former run that nobody refreshed could not be closed", { connectionId: ours.id, error });
    });
  });
  announcements.publish({ ...ours, state: State.REFRESH_REQUESTED });
  return "news";
}
