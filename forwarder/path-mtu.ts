/**
 * Follows the largest packet that reaches each other node of our tunnels, and has connections refreshed when it has changed:
 * the refresh carries the new value to both ends and every hop (mtu.ts).
 */
import type { Clock, Disarm } from "../sdk/clock.js";
import { State } from "../sdk/gen/connection.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { DataPlane } from "./dataplane/dataplane.js";

export interface PathMtus {
  /** As measured last, in bytes; undefined: not measured yet, or it cannot be. */
  of(remoteAddress: string): number | undefined;
}

export interface FollowPathMtus extends PathMtus {
  /** Measures all paths now. */
  measure(): Promise<void>;
  stop(): void;
}

export interface PathMtuOptions {
  readonly dataPlane: Pick<DataPlane, "list" | "underlayMtuBytes">;
  /** Measures one path; undefined: nothing can be said. */
  readonly measure: (path: {
    readonly source: string;
    readonly destination: string;
    readonly linkMtuBytes: number;
  }) => Promise<number | undefined>;
  readonly hub: Pick<MonitorHub, "get" | "publish">;
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly log: Log;
}

export function followPathMtus(options: PathMtuOptions): FollowPathMtus {
  const { dataPlane, hub, clock, log } = options;
  const known = new Map<string, number>();
  let stopped = false;
  let disarm: Disarm = () => {};

  async function measureOne(source: string, destination: string, ids: readonly string[]): Promise<void> {
    const linkMtuBytes = await dataPlane.underlayMtuBytes(source);
    const measured = await options.measure({ source, destination, linkMtuBytes });
    if (stopped || measured === undefined) return;
    const before = known.get(destination);
    known.set(destination, measured);
    if (measured === (before ?? linkMtuBytes)) return;
    log.warn("the path to another node carries packets of another size than before; its connections are refreshed", {
      remote: destination,
      pathMtuBytes: measured,
      beforeBytes: before,
    });
    for (const id of ids) {
      const connection = hub.get(id);
      if (connection !== undefined) hub.publish({ ...connection, state: State.REFRESH_REQUESTED });
    }
  }

  async function measure(): Promise<void> {
    const paths = new Map<string, { readonly source: string; readonly ids: string[] }>();
    for (const { id, client, endpoint } of dataPlane.list()) {
      for (const port of [client, endpoint]) {
        if (port.kind !== "vxlan" && port.kind !== "wireguard") continue;
        const path = paths.get(port.remoteAddress) ?? { source: port.localAddress, ids: [] };
        path.ids.push(id);
        paths.set(port.remoteAddress, path);
      }
    }
    for (const remote of known.keys()) if (!paths.has(remote)) known.delete(remote);
    for (const [remote, { source, ids }] of paths) {
      await measureOne(source, remote, ids).catch((error: unknown) =>
        log.debug("a path could not be measured", { remote, error }),
      );
    }
  }

  const arm = (): void => {
    if (stopped) return;
    disarm = clock.at(clock.nowMs() + options.intervalMs, () => void measure().finally(arm));
  };
  arm();
  return {
    of: (remoteAddress) => known.get(remoteAddress),
    measure,
    stop() {
      stopped = true;
      disarm();
    },
  };
}
