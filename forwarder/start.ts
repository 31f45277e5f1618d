/** Brings a forwarder up: data plane → what was before → chain → listen → register; and down again in reverse. */
import type { ChainObserver } from "../sdk/chain.js";
import { backgroundCall } from "../sdk/chain.js";
import { type Clock, systemClock } from "../sdk/clock.js";
import { createPhases } from "../sdk/config/phases.js";
import { expire } from "../sdk/elements/expire.js";
import { createJournal } from "../sdk/elements/explain.js";
import type { OwedCloses } from "../sdk/elements/owed-closes.js";
import { serialize } from "../sdk/elements/serialize.js";
import type { Connection } from "../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import { createMonitorHub, type MonitorHub } from "../sdk/monitor/hub.js";
import { type Policies, policiesFor } from "../sdk/policies/policies.js";
import { limitsOf, masksOf } from "../sdk/policies/settings.js";
import { watchedCache } from "../sdk/registry/cache.js";
import { keepRegistered } from "../sdk/registry/keep-registered.js";
import { createHealth, type Health } from "../sdk/telemetry/health.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Metrics } from "../sdk/telemetry/metrics.js";
import type { Dialer } from "../sdk/transport/dial.js";
import { connectionService, healthService, inspectService, monitorService } from "../sdk/transport/services.js";
import { grpcTransport, type Transport } from "../sdk/transport/transport.js";
import { forwarderChain } from "./chain.js";
import type { ForwarderConfig } from "./config.js";
import { type Connections, createConnections } from "./connections.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { followPaths } from "./follow-paths.js";
import { mechanismKinds } from "./mechanism-kinds.js";
import type { KeyRotation } from "./mechanisms/wireguard-rotation.js";
import { openDataPlane } from "./open-data-plane.js";
import { openOwedCloses } from "./open-owed-closes.js";
import type { PathMtus } from "./path-mtu.js";
import { capabilityTable, inspectForwarder } from "./report.js";
import { restoreConnections } from "./restore.js";
import { tunnelAddressOf } from "./tunnel-address.js";
import { createVniPool } from "./vni.js";
import { askForRefresh, publishCounters, reportBroken } from "./watch-data-plane.js";
import { createWireguardEnds, type WireguardEnds } from "./wireguard-ends.js";

/** Its manager is on this node, and cannot heal a connection without it: it comes back soon after the manager does. */
const longestPauseMs = 400;

export interface ForwarderDeps {
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  /** Default: gRPC. */
  readonly transport?: Transport | undefined;
  /** For the default of the state directory. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Absent = plain text, no tokens. */
  readonly identity?: Identity | undefined;
  /** Where it tells whether it serves; default: only its own gRPC health. */
  readonly health?: Health | undefined;
  /** Takes the place of the one that the settings name; it is closed at the end all the same. */
  readonly dataPlane?: DataPlane | undefined;
  /** Takes the place of the folder beside the ledger; with a data plane of the caller's own there is none by itself. */
  readonly owedCloses?: OwedCloses | undefined;
}

export interface RunningForwarder {
  readonly urls: readonly string[];
  readonly hub: MonitorHub;
  readonly dataPlane: DataPlane;
  /** Resolves when the manager knows it for the first time; rejects when the manager refuses it for good. */
  readonly registered: Promise<void>;
  /** Makes all WireGuard keys old: each connection is asked to refresh, and rotates them then. Gives how many. */
  rotateKeys(): number;
  /** Takes it out of the registry and lets running calls finish. Connections stay and carry packets. */
  stop(): Promise<void>;
}

/**
 * @throws ALREADY_EXISTS another process serves one of its addresses; FAILED_PRECONDITION no state directory, no such
 *         tunnel address, or a data plane that cannot work here
 */
export async function startForwarder(config: ForwarderConfig, deps: ForwarderDeps): Promise<RunningForwarder> {
  const { log, clock = systemClock, transport = grpcTransport } = deps;
  const phases = createPhases(log, config.drainTimeoutMs + 2_000);
  const stopping = new AbortController();
  const { signal } = stopping;
  const kept = keptState(config, clock);

  const dataPlane = await phases.run(
    "data plane",
    () => deps.dataPlane ?? openDataPlane(config, { log, env: deps.env ?? {} }),
    (opened) => opened.close(),
  );
  await phases.run("capabilities", () => logCapabilities(dataPlane, log));
  const owed = deps.owedCloses ?? openOwedCloses(config, deps);
  await phases.run("recovery", () => restoreConnections({ ...kept, dataPlane, owed, nowMs: clock.nowMs(), log, signal }));
  const dialer = await phases.run(
    "connections to others",
    () => transport.createDialer({ dialTimeoutMs: config.dialTimeoutMs, identity: deps.identity, log }),
    (opened) => opened.close(),
  );
  await phases.run(
    "watches",
    () => {},
    () => stopping.abort(new DOMException("the forwarder stops", "AbortError")),
  );

  const tunnelAddress = dataPlane.tunnelAddress ?? tunnelAddressOf(config.tunnelIp, dataPlane.name, log);
  if (dataPlane.tunnelAddress !== undefined && !["", dataPlane.tunnelAddress].includes(config.tunnelIp))
    log.warn(`NSM_TUNNEL_IP is ${config.tunnelIp}; tunnels start at the address of the DPDK device`, { tunnelAddress });
  const policies = await phases.run(
    "policies",
    () => policiesFor(deps.identity, masksOf(config), { limits: limitsOf(config), log, nowMs: clock.nowMs, env: deps.env }),
    (opened) => opened?.close(),
  );
  const hub = createMonitorHub();
  const pathMtus = await phases.run(
    "path MTU",
    () => followPaths({ dataPlane, hub, clock, log }, config.pathMtuIntervalMs, signal),
    (following) => following?.stop(),
  );
  const parts = { ...deps, ...kept, owed, policies, config, clock, dataPlane, dialer, hub, signal, tunnelAddress, pathMtus };
  const journal = createJournal();
  const handler = await createHandler({ ...parts, journal });
  const health = deps.health ?? createHealth();
  const listener = await phases.run(
    "listen",
    () => {
      const inspect = inspectForwarder({ ...parts, journal });
      const services = [
        connectionService(handler, "call"),
        monitorService(policies?.monitor(parts.hub) ?? parts.hub),
        healthService(health),
        inspectService(policies?.inspect(inspect) ?? inspect),
      ];
      return transport.listen({
        urls: config.listenOn,
        services,
        identity: deps.identity,
        gate: policies?.gate,
        log,
        signal: new AbortController().signal,
      });
    },
    (opened) => opened.drain(config.drainTimeoutMs),
  );
  await phases.run(
    "watch the data plane",
    () => {
      void reportBroken({ dataPlane, hub: parts.hub, log, signal });
      const { metrics } = deps;
      if (metrics === undefined) return () => {};
      return publishCounters({ ...kept, dataPlane, metrics, clock, intervalMs: config.metricsExportIntervalMs, log });
    },
    (stopCounters) => stopCounters(),
  );
  const registered = await phases.run(
    "register",
    () => register({ ...parts, url: config.publicUrl ?? listener.urls[0] ?? "", health }),
    (registration) => registration.unregister(),
  );
  const rotateKeys = (): number => {
    kept.keyRotation.oldUntilMs = clock.nowMs();
    return askForRefresh({ dataPlane, hub });
  };
  return { urls: listener.urls, hub, dataPlane, registered: registered.done, rotateKeys, stop: phases.stop };
}

/** What it knows of its connections, beside the data plane. */
function keptState(config: Pick<ForwarderConfig, "wireguardPort" | "keyPeriodMs">, { nowMs }: Clock) {
  const keyRotation: KeyRotation = { periodMs: config.keyPeriodMs, oldUntilMs: -1, nowMs };
  const wireguardEnds = createWireguardEnds(config.wireguardPort, undefined, nowMs);
  return { connections: createConnections(), vnis: createVniPool(Math.random), wireguardEnds, keyRotation };
}

async function logCapabilities(dataPlane: DataPlane, log: Log): Promise<void> {
  for (const line of capabilityTable(await dataPlane.capabilities())) log.info(`capability ${line}`);
  const mechanisms = await dataPlane.mechanisms();
  if (mechanisms.length > 0) log.info("mechanisms", { dataPlane: dataPlane.name, mechanisms });
  else log.error("this machine can build no mechanism; the table above says what is missing", { dataPlane: dataPlane.name });
}

type Parts = ForwarderDeps & {
  readonly config: ForwarderConfig;
  readonly clock: Clock;
  readonly connections: Connections;
  readonly dataPlane: DataPlane;
  readonly dialer: Dialer;
  readonly hub: MonitorHub;
  readonly policies: Policies | undefined;
  readonly signal: AbortSignal;
};

/** The chain, with the connections that were there before: told to watchers, and closed when nobody refreshes them. */
async function createHandler(
  parts: Parts & {
    readonly tunnelAddress: string | undefined;
    readonly vnis: ReturnType<typeof createVniPool>;
    readonly wireguardEnds: WireguardEnds;
    readonly keyRotation: KeyRotation;
    readonly pathMtus: PathMtus | undefined;
    readonly owed: OwedCloses | undefined;
    readonly journal: ReturnType<typeof createJournal>;
  },
) {
  const { config, clock, connections, dataPlane, dialer, hub, log, signal, tunnelAddress, vnis } = parts;
  const restored = [...connections.all()].map(([, { answered }]) => answered);
  const kinds = await mechanismKinds({
    dataPlane,
    tunnelAddress,
    udpPort: config.vxlanPort,
    vnis,
    wireguardEnds: parts.wireguardEnds,
    keyRotation: parts.keyRotation,
    pathMtus: parts.pathMtus,
  });
  const timers = expire(clock, signal);
  const closeRestored = (connection: Connection): Promise<void> => handler.close(connection, backgroundCall(signal));
  const handler = forwarderChain({
    name: config.name,
    clock,
    log,
    observer: parts.observer,
    identity: parts.identity,
    maxTokenLifetimeMs: config.maxTokenLifetimeMs,
    serialize: serialize({ restored, log, ownership: parts.policies?.ownership, closeRestored }),
    policies: parts.policies,
    expire: timers,
    hub,
    services: watchedCache(dialer.serviceRegistry(config.connectTo), { log, signal, clock }),
    endpoints: watchedCache(dialer.endpointRegistry(config.connectTo), { log, signal, clock }),
    dialer,
    owed: parts.owed,
    journal: parts.journal,
    signal,
    dataPlane,
    kinds,
    connections,
    vnis,
    mechanismPriority: config.mechanismPriority,
    traffic: config,
  });
  for (const connection of restored) {
    hub.publish(connection);
    timers.arm(connection, () => {
      closeRestored(connection).catch((error) => {
        log.warn("a restored connection that nobody refreshed could not be closed", { connectionId: connection.id, error });
      });
    });
  }
  return handler;
}

/** Registers in the background: the manager may come up after us. */
function register({
  config,
  clock,
  dialer,
  log,
  url,
  health,
  policies,
}: Parts & { url: string; health: ReturnType<typeof createHealth> }) {
  const stopping = new AbortController();
  const { serviceName, labels } = config;
  const entry = NetworkServiceEndpoint.fromPartial({
    name: config.name,
    network_service_names: [serviceName],
    network_service_labels: { [serviceName]: { labels: { ...labels } } },
    url,
  });
  health.set("", true);
  health.set("registered", false);
  const registry = dialer.endpointRegistry(config.connectTo);
  const registration = keepRegistered(policies?.ofRegistry(registry) ?? registry, entry, {
    ...{ log, clock, longestPauseMs },
    signal: stopping.signal,
  });
  let kept: Awaited<typeof registration> | undefined;
  const done = registration.then((registered) => {
    kept = registered;
    health.set("registered", true);
    log.info("registered", { manager: config.connectTo, service: serviceName, labels });
  });
  // Whoever awaits it hears of it; nobody has to.
  done.catch(() => {});
  return {
    done,
    async unregister(): Promise<void> {
      health.set("", false);
      if (kept !== undefined) return kept.unregister();
      // Not known there yet: only stop trying.
      stopping.abort(new DOMException("the forwarder stops", "AbortError"));
      await done.catch(() => {});
    },
  };
}
