/**
 * Follows the largest packet that reaches each other node of our tunnels, and has connections refreshed when it has changed:
 * the refresh carries the new value to both ends and every hop (connection-mtu.ts). Less is believed at once; more when several
 * measurements in a row agree, and the more of them the more often a path has fallen back (path-growth.ts).
 */
import { MechanismType } from "../sdk/api.js";
import type { Clock, Disarm } from "../sdk/clock.js";
import { State } from "../sdk/gen/connection.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { CrossConnect, DataPlane } from "./dataplane/dataplane.js";
import { pathTunnelMtuBytes } from "./mtu.js";
import { createPathGrowth, type PathGrowth } from "./path-growth.js";

export interface PathMtus {
  /** As it is believed to be; undefined: not measured yet, or it cannot be. */
  of(remoteAddress: string): PathMtu | undefined;
}

export interface PathMtu {
  readonly bytes: number;
  /** Of the link it leaves by, when it was measured. */
  readonly linkBytes: number;
  /** Echoes of that size have been answered; false: only the own link says so. */
  readonly seen: boolean;
}

export interface FollowPathMtus extends PathMtus {
  /** Measures all paths now. */
  measure(): Promise<void>;
  /** Something about the node's links has changed: measures when an MTU has. */
  linkChanged(): Promise<void>;
  stop(): void;
}

/** Where a connection's packets go, which is all that matters here. */
export type Followed = Pick<CrossConnect, "id" | "client" | "endpoint">;

export interface PathMtuOptions {
  readonly dataPlane: Pick<DataPlane, "underlayMtuBytes"> & { list(): readonly Followed[] };
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
  readonly source: string;
  /** What goes over it; a tunnel of another kind carries less or more of the same path. */
  readonly tunnels: { readonly id: string; readonly type: string }[];
}

/** Paths that are measured at the same time. */
const atOnce = 32;
/** Between the measurements that have to agree before a path is believed to have grown. */
const growthPauseMs = 1_000;
const timesTold = 4;

export function followPathMtus(options: PathMtuOptions): FollowPathMtus {
  const { dataPlane, hub, clock, log } = options;
  const known = new Map<string, PathMtu>();
  const growths = new Map<string, PathGrowth>();
  /** How often connections are still to be told that a path has grown. */
  const tellings = new Map<string, number>();
  /** MTU of the own link when a path from this address was measured last. */
  const links = new Map<string, number>();
  let stopped = false;
  let disarm: Disarm = () => {};
  let turn = Promise.resolve();

  async function measureOne(destination: string, { source, tunnels }: Path): Promise<void> {
    const linkMtuBytes = await dataPlane.underlayMtuBytes(source);
    const linkBefore = links.get(source);
    links.set(source, linkMtuBytes);
    // where nobody answers echoes the own link is all that can be followed
    const unheard = linkBefore === undefined || linkBefore === linkMtuBytes ? undefined : linkMtuBytes;
    const measured = await options.measure({ source, destination, linkMtuBytes });
    const found = measured ?? unheard;
    if (stopped || found === undefined) return;
    const before = known.get(destination);
    const seen = measured !== undefined;
    const bytes = seen && before !== undefined ? growthOf(destination).follow(before.bytes, measured, clock.nowMs()) : found;
    known.set(destination, { bytes, linkBytes: linkMtuBytes, seen });
    // before the first measurement a connection has what its link had when it was built; nothing grows that was not seen to pass
    const grew = isGrown(destination, before?.bytes ?? bytes, bytes, seen);
    const wrong = tunnels.filter(({ id, type }) => {
      const carriesBytes = pathTunnelMtuBytes(type, bytes, linkMtuBytes, source);
      const has = hub.get(id)?.context?.MTU ?? 0;
      return has > carriesBytes || (grew && has < carriesBytes);
    });
    if (wrong.length === 0) return;
    log.warn("the path to another node carries packets of another size than before; its connections are refreshed", {
      remote: destination,
      pathMtuBytes: bytes,
      beforeBytes: before?.bytes,
    });
    for (const { id } of wrong) {
      const connection = hub.get(id);
      if (connection !== undefined) hub.publish({ ...connection, state: State.REFRESH_REQUESTED });
    }
  }

  /** For some measurements: a refresh that was under way when the other end had not measured yet says no more than before. */
  function isGrown(destination: string, beforeBytes: number, bytes: number, seen: boolean): boolean {
    if (bytes !== beforeBytes) tellings.set(destination, seen && bytes > beforeBytes ? timesTold : 0);
    const left = tellings.get(destination) ?? 0;
    tellings.set(destination, Math.max(0, left - 1));
    return left > 0;
  }

  function growthOf(destination: string): PathGrowth {
    const there = growths.get(destination) ?? createPathGrowth();
    growths.set(destination, there);
    return there;
  }

  function pathsNow(): ReadonlyMap<string, Path> {
    const paths = new Map<string, Path>();
    for (const { id, client, endpoint } of dataPlane.list()) {
      for (const port of [client, endpoint]) {
        if (port.kind !== "vxlan" && port.kind !== "wireguard") continue;
        const type = port.kind === "vxlan" ? MechanismType.VXLAN : MechanismType.WIREGUARD;
        const path = paths.get(port.remoteAddress) ?? { source: port.localAddress, tunnels: [] };
        path.tunnels.push({ id, type });
        paths.set(port.remoteAddress, path);
      }
    }
    return paths;
  }

  async function measureAll(): Promise<void> {
    const paths = pathsNow();
    for (const remote of known.keys()) if (!paths.has(remote)) known.delete(remote);
    for (const remote of growths.keys()) if (!paths.has(remote)) growths.delete(remote);
    for (const remote of tellings.keys()) if (!paths.has(remote)) tellings.delete(remote);
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

  /** Sooner while something seems to have grown. */
  const arm = (): void => {
    disarm();
    if (stopped) return;
    const growing = [...growths.values()].some((growth) => growth.awaitsMore());
    const pauseMs = growing ? Math.min(growthPauseMs, options.intervalMs) : options.intervalMs;
    disarm = clock.at(clock.nowMs() + pauseMs, () => void inTurn(measureAll).finally(arm));
  };
  arm();
  return {
    of: (remoteAddress) => known.get(remoteAddress),
    measure: () => inTurn(measureAll).finally(arm),
    linkChanged: () => inTurn(measureIfLinkChanged).finally(arm),
    stop() {
      stopped = true;
      disarm();
    },
  };
}
