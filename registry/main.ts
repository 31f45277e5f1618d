/** The life of a registry process: store → chains → listen → wait for the end → drain → close. */
import { setFlagsFromString } from "node:v8";
import type { ChainObserver } from "../sdk/chain.js";
import { type Clock, systemClock } from "../sdk/clock.js";
import { insecureWarning, refuseWithoutIdentity } from "../sdk/config/common.js";
import { readSettings, reportUnread } from "../sdk/config/table.js";
import type { Identity } from "../sdk/identity/identity.js";
import { startIdentity } from "../sdk/identity/start.js";
import { policiesFor } from "../sdk/policies/policies.js";
import { limitsOf, masksOf } from "../sdk/policies/settings.js";
import { mintFor, type PathOptions } from "../sdk/registry/enter-path.js";
import { guardFind } from "../sdk/registry/guard-find.js";
import { toStatusError } from "../sdk/status.js";
import { createHealth, type Health } from "../sdk/telemetry/health.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Metrics } from "../sdk/telemetry/metrics.js";
import { startTelemetry } from "../sdk/telemetry/telemetry.js";
import {
  endpointRegistryService,
  type Find,
  findOf,
  healthService,
  inspectService,
  serviceRegistryService,
} from "../sdk/transport/services.js";
import { grpcTransport, type Transport } from "../sdk/transport/transport.js";
import { endpointChain, serviceChain } from "./chain.js";
import { type RegistryConfig, registrySettings } from "./config.js";
import { expireEndpoints } from "./expire.js";
import { createFinder, type Finder } from "./find.js";
import { type Entry, endpointKind, serviceKind } from "./kind.js";
import { markStale } from "./mark-stale.js";
import { openStores, sizesOf } from "./open-stores.js";
import { inspectRegistry } from "./report.js";
import type { Stores } from "./store/store.js";

export interface RegistryDeps extends PathOptions {
  readonly log: Log;
  /** Aborting it stops the registry at once; `stop` of the result drains first. */
  readonly signal: AbortSignal;
  readonly observer?: ChainObserver | undefined;
  readonly clock?: Clock | undefined;
  /** Absent = plain text, and owners are who their tokens say. */
  readonly identity?: Identity | undefined;
  /** Where the registry's own figures are published. */
  readonly metrics?: Metrics | undefined;
  /** Where it tells whether it serves; default: only its own gRPC health. */
  readonly health?: Health | undefined;
  /** Default: gRPC. */
  readonly transport?: Transport | undefined;
  /** Takes the place of the store that the settings name; closed at the end all the same. */
  readonly stores?: Stores | undefined;
  /** For the state directory's default. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface Running {
  readonly urls: readonly string[];
  stop(): Promise<void>;
}

/**
 * Starts a registry in this process.
 * @throws ALREADY_EXISTS an address or the store is in use by a living process; FAILED_PRECONDITION no state directory
 */
export async function startRegistry(config: RegistryConfig, deps: RegistryDeps): Promise<Running> {
  const { log, clock = systemClock } = deps;
  const undo: (() => void | Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const stores = deps.stores ?? (await openStores(config, { ...deps, clock }));
    undo.push(() => stores.close());
    const expiry = expireEndpoints(stores.endpoints, { clock, log });
    undo.push(() => expiry.stop());
    const finderOptions = { maxWaiting: config.watchBuffer };
    const services = createFinder(stores.services.table, serviceKind, finderOptions);
    const endpoints = createFinder(stores.endpoints.table, endpointKind, finderOptions);
    undo.push(services.close, endpoints.close);
    if (deps.metrics !== undefined) {
      const { publishFigures } = await import("./metrics.js");
      publishFigures(deps.metrics.registry, { stores, services, endpoints });
    }
    const health = deps.health ?? createHealth();
    const policies = await policiesFor(deps.identity, masksOf(config), {
      limits: limitsOf(config),
      log,
      nowMs: clock.nowMs,
      env: deps.env,
    });
    undo.push(() => policies?.close());
    const mintToken = deps.mintToken ?? mintFor(deps.identity);
    const guarded = <T extends Entry>(finder: Finder<T>): Find<T> =>
      guardFind(markStale(findOf(finder), stores), policies?.registry, mintToken);
    const inspect = inspectRegistry({ config, log, stores, services, endpoints });
    const chainDeps = {
      ...deps,
      mintToken,
      policies,
      name: config.name,
      stores,
      clock,
      leasePeriodMs: config.leasePeriodMs,
    };
    const listener = await (deps.transport ?? grpcTransport).listen({
      urls: config.listenOn,
      services: [
        serviceRegistryService(serviceChain(chainDeps), guarded(services)),
        endpointRegistryService(endpointChain(chainDeps), guarded(endpoints)),
        healthService(health),
        inspectService(policies?.inspect(inspect) ?? inspect),
      ],
      identity: deps.identity,
      gate: policies?.gate,
      log,
      signal: deps.signal,
    });
    undo.push(() => listener.drain(config.drainTimeoutMs));
    health.set("", true);
    undo.push(() => health.set("", false));
    log.info("registry is up", { urls: listener.urls, store: config.store, ...sizesOf(stores) });
    return { urls: listener.urls, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The command `weft registry`; the result is its exit code. */
export async function run(options: {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}): Promise<number> {
  const command = { name: "weft registry", summary: "Keeps network services and their endpoints, and tells who watches." };
  const read = readSettings(command, registrySettings, options);
  if (!read.ok) return reportUnread(read);
  const config = read.values;
  const refused = refuseWithoutIdentity(command.name, config);
  if (refused !== undefined) {
    process.stderr.write(refused);
    return 2;
  }
  // Entries live long and calls leave much garbage behind: left alone, V8 lets the heap grow to four times what lives.
  // Less growth keeps 100,000 endpoints below 300 MiB; still less would show in every Find as time spent marking them.
  setFlagsFromString("--heap-growing-percent=60");
  const telemetry = await startTelemetry({ name: config.name, settings: config });
  const { log, observer, metrics, health } = telemetry;
  let identity: Identity | undefined;
  try {
    identity = await startIdentity(config, { log, signal: options.signal });
    if (identity === undefined) log.warn(insecureWarning);
    // The listener gets a signal of its own: SIGTERM drains, it does not cut.
    const cut = new AbortController();
    // a store that is kept elsewhere may be long in coming
    const giveUp = (): void => cut.abort(options.signal.reason);
    if (options.signal.aborted) giveUp();
    options.signal.addEventListener("abort", giveUp, { once: true });
    const running = await startRegistry(config, {
      log,
      observer,
      metrics,
      health,
      identity,
      signal: cut.signal,
      env: options.env,
    });
    if (!options.signal.aborted) {
      await new Promise((resolve) => options.signal.addEventListener("abort", resolve, { once: true }));
    }
    log.info("registry is stopping");
    await running.stop();
    return 0;
  } catch (error) {
    if (options.signal.aborted) return 0;
    log.error("registry cannot run", { error: toStatusError(error) });
    return 1;
  } finally {
    identity?.close();
    await telemetry.stop();
  }
}
