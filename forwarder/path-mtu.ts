/**
 * Follows the largest packet that reaches each other node of our tunnels, and has connections refreshed when it has changed:
 * the refresh carries the new value to both ends and every hop (mtu.ts).
 */
import { MechanismType } from "../sdk/api.js";
import type { Clock, Disarm } from "../sdk/clock.js";
import { State } from "../sdk/gen/connection.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { tunnelMtuBytes } from "./mtu.js";

export interface PathMtus {
  /** As measured last, in bytes; undefined: not measured yet, or it cannot be. */
  of(remoteAddress: string): number | undefined;
}

export interface FollowPathMtus extends PathMtus {
  /** Measures all paths now. */
  measure(): Promise<void>;
  /** Something about the node's links has changed: measures when an MTU has. */
  linkChanged(): Promise<void>;
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

interface Path {
  readonly type: string;
  readonly source: string;
  readonly ids: string[];
}

/** Paths that are measured at the same time. */
const atOnce = 32;

export function followPathMtus(options: PathMtuOptions): FollowPathMtus {
  const { dataPlane, hub, clock, log } = options;
  const known = new Map<string, number>();
  /** MTU of the own link when a path from this address was measured last. */
  const links = new Map<string, number>();
  let stopped = false;
  let disarm: Disarm = () => {};
  let turn = Promise.resolve();

  async function measureOne(destination: string, { type, source, ids }: Path): Promise<void> {
    const linkMtuBytes = await dataPlane.underlayMtuBytes(source);
    const linkBefore = links.get(source);
    links.set(source, linkMtuBytes);
    // where nobody answers echoes the own link is all that can be followed
    const unheard = linkBefore === undefined || linkBefore === linkMtuBytes ? undefined : linkMtuBytes;
    const measured = (await options.measure({ source, destination, linkMtuBytes })) ?? unheard;
    if (stopped || measured === undefined) return;
    const before = known.get(destination);
    known.set(destination, measured);
    // before the first measurement a connection has what its link had when it was built
    const tooLarge = (id: string): boolean => (hub.get(id)?.context?.MTU ?? 0) > tunnelMtuBytes(type, measured, source);
    const wrong = before === undefined ? ids.filter(tooLarge) : measured === before ? [] : ids;
    if (wrong.length === 0) return;
    log.warn("the path to another node carries packets of another size than before; its connections are refreshed", {
      remote: destination,
      pathMtuBytes: measured,
      beforeBytes: before,
    });
    for (const id of wrong) {
      const connection = hub.get(id);
      if (connection !== undefined) hub.publish({ ...connection, state: State.REFRESH_REQUESTED });
    }
  }

  function pathsNow(): ReadonlyMap<string, Path> {
    const paths = new Map<string, Path>();
    for (const { id, client, endpoint } of dataPlane.list()) {
      for (const port of [client, endpoint]) {
        if (port.kind !== "vxlan" && port.kind !== "wireguard") continue;
        const type = port.kind === "vxlan" ? MechanismType.VXLAN : MechanismType.WIREGUARD;
        const path = paths.get(port.remoteAddress) ?? { type, source: port.localAddress, ids: [] };
        path.ids.push(id);
        paths.set(port.remoteAddress, path);
      }
    }
    return paths;
  }

  async function measureAll(): Promise<void> {
    const paths = pathsNow();
    for (const remote of known.keys()) if (!paths.has(remote)) known.delete(remote);
    const waiting = [...paths];
    while (waiting.length > 0 && !stopped) {
      const measuring = waiting
        .splice(0, atOnce)
        .map(([remote, path]) =>
          measureOne(remote, path).catch((error: unknown) => log.debug("a path could not be measured", { remote, error })),
        );
      await Promise.all(measuring);
    }
  }

  async function measureIfLinkChanged(): Promise<void> {
    for (const source of new Set([...pathsNow().values()].map((path) => path.source))) {
      const now = await dataPlane.underlayMtuBytes(source).catch(() => undefined);
      if (now !== undefined && now !== links.get(source)) return await measureAll();
    }
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    turn = turn.then(() => (stopped ? undefined : work()));
    return turn;
  }

  const arm = (): void => {
    if (stopped) return;
    disarm = clock.at(clock.nowMs() + options.intervalMs, () => void inTurn(measureAll).finally(arm));
  };
  arm();
  return {
    of: (remoteAddress) => known.get(remoteAddress),
    measure: () => inTurn(measureAll),
    linkChanged: () => inTurn(measureIfLinkChanged),
    stop() {
      stopped = true;
      disarm();
    },
  };
}
