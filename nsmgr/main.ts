/** Life of the node manager: settings → telemetry → registry → chain → listen → wait → drain → close. */
import { networkInterfaces } from "node:os";
import type { ChainObserver } from "../sdk/chain.js";
import { type Clock, systemClock } from "../sdk/clock.js";
import { createPhases } from "../sdk/config/phases.js";
import { type RunOptions, runComponent } from "../sdk/config/run-component.js";
import { readSettings } from "../sdk/config/table.js";
import { createJournal } from "../sdk/elements/explain.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import { createMonitorHub, type MonitorHub } from "../sdk/monitor/hub.js";
import { matchesEndpoint, matchesService } from "../sdk/registry/match.js";
import { createHealth, type Health } from "../sdk/telemetry/health.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Metrics } from "../sdk/telemetry/metrics.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";
import { grpcTransport, type Transport } from "../sdk/transport/transport.js";
import { type NsmgrConfig, nodeLabels, nsmgrSettings } from "./config.js";
import { createDirectory } from "./directory.js";
import { followPrefixes } from "./exclude-prefixes.js";
import { createLocalEndpoints, type LocalEndpoints } from "./local-endpoints.js";
import { nameRegistry } from "./name-registry.js";
import { probeRegistry, type RegistryState } from "./probe-registry.js";
import { publicUrl } from "./public-url.js";
import { startRules } from "./rules.js";
import { nsmgrServices } from "./services.js";
import { standIn } from "./stand-in.js";

type Entry = NetworkService | NetworkServiceEndpoint;

const command = { name: "weft nsmgr", summary: "The node manager: workloads of its node ask it for network services." };

export interface NsmgrDeps {
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  readonly metrics?: Metrics | undefined;
  /** Where it tells whether it serves; default: only its own gRPC health. */
  readonly health?: Health | undefined;
  readonly clock?: Clock | undefined;
  /** Default: gRPC. */
  readonly transport?: Transport | undefined;
  /** Absent = plain text, no tokens. */
  readonly identity?: Identity | undefined;
  /** For the command `opa`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface RunningNsmgr {
  /** As bound, with real ports. */
  readonly urls: readonly string[];
  /** How other nodes reach it. */
  readonly publicUrl: string;
  readonly hub: MonitorHub;
  /** Lets running calls finish, then lets go of everything. Connections stay: clients find the next manager. */
  stop(): Promise<void>;
}

/**
 * Starts a manager.
 * @throws ALREADY_EXISTS when another process serves one of its addresses; other listen errors as transport/listen.ts says
 */
export async function startNsmgr(config: NsmgrConfig, deps: NsmgrDeps): Promise<RunningNsmgr> {
  const { log, clock = systemClock, transport = grpcTransport } = deps;
  const phases = createPhases(log, config.drainTimeoutMs + 2_000);
  const stopping = new AbortController();
  const { signal } = stopping;
  const health = deps.health ?? createHealth();
  const shared = { ...deps, config, clock, signal, journal: createJournal(), hub: createMonitorHub(), health };
  const locals = createLocalEndpoints();
  let url = config.publicUrl ?? publicUrl(config.listenOn, networkInterfaces());
  let registryState: RegistryState = { up: false, reason: "not asked yet" };

  const prefixes = await phases.run(
    "excluded prefixes",
    () => followPrefixes(config.excludedPrefixesFile, log),
    (list) => list.stop(),
  );
  const dialer = await phases.run(
    "connections to others",
    () => transport.createDialer({ dialTimeoutMs: config.dialTimeoutMs, identity: deps.identity, log }),
    (opened) => opened.close(),
  );
  const { registryUrl } = config;
  const known = { clock, log };
  const rules = await startRules(config, { ...deps, locals, nowMs: clock.nowMs, phases });
  const trusted = <T extends Entry>(remote: RemoteRegistry<T>): RemoteRegistry<T> =>
    nameRegistry(rules.policies?.ofRegistry(remote) ?? remote, registryUrl);
  const services = standIn(trusted(dialer.serviceRegistry(registryUrl)), { matches: matchesService, ...known });
  const endpoints = standIn(trusted(dialer.endpointRegistry(registryUrl)), { matches: matchesEndpoint, ...known });
  const registry = { ...shared, services, endpoints, locals, publicUrl: () => url };
  const directory = await phases.run(
    "watches of the registry",
    () => createDirectory(registry),
    () => stopping.abort(new DOMException("the manager stops", "AbortError")),
  );
  const parts = { ...registry, ...rules, prefixes, dialer, directory, registryState: () => registryState };
  const listener = await phases.run(
    "listen",
    () =>
      transport.listen({
        urls: config.listenOn,
        services: nsmgrServices(parts),
        gate: rules.policies?.gate,
        identity: deps.identity,
        log,
        // `drain` stops it
        signal: new AbortController().signal,
      }),
    (opened) => opened.drain(config.drainTimeoutMs),
  );
  url = config.publicUrl ?? publicUrl(listener.urls, networkInterfaces());
  await phases.run(
    "health",
    () => {
      const onChange = (state: RegistryState): void => {
        registryState = state;
        shared.health.set("registry", state.up);
        if (state.up) log.info("the registry answers", { registry: config.registryUrl });
        else log.warn("the registry is away; existing connections stay", { registry: config.registryUrl, reason: state.reason });
      };
      followForwarders(locals, config.forwarderServiceName, shared.health, log);
      void probeRegistry({ ask: (limit) => dialer.health(config.registryUrl, "", limit), onChange, signal });
      shared.health.set("", true);
    },
    () => shared.health.set("", false),
  );
  return { urls: listener.urls, publicUrl: url, hub: shared.hub, stop: phases.stop };
}

/** A manager without a forwarder can carry nothing: health says so. */
function followForwarders(locals: LocalEndpoints, service: string, health: Health, log: Log): void {
  let count = -1;
  const tell = (): void => {
    const now = locals.ofService(service).length;
    if (now === count) return;
    count = now;
    health.set("forwarder", now > 0);
    if (now === 0) log.warn("no forwarder is registered here: requests have to wait for one", { service });
    else log.info("forwarders registered here", { forwarders: now });
  };
  locals.onChange(tell);
  tell();
}

/** The command `weft nsmgr`; the result is its exit code. Aborting the signal stops it gracefully. */
export const run = (options: RunOptions): Promise<number> =>
  runComponent(readSettings(command, nsmgrSettings, options), options, {
    command: command.name,
    title: "node manager",
    start: (values, deps) => startNsmgr({ ...values, nodeLabels: nodeLabels(options.env) }, deps),
    ready: ({ urls, publicUrl }, { registryUrl }) => ({ urls, publicUrl, registry: registryUrl }),
  });
