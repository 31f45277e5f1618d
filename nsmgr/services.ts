/** The services of the node manager: its chains, its monitor, and what an operator may ask. */
import { backgroundCall, type ChainObserver } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { Announcements } from "../sdk/elements/announce.js";
import { drainAnswer } from "../sdk/elements/drain.js";
import { expire } from "../sdk/elements/expire.js";
import type { Journal } from "../sdk/elements/explain.js";
import { serialize } from "../sdk/elements/serialize.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import type { Admission } from "../sdk/policies/admission.js";
import type { Policies } from "../sdk/policies/policies.js";
import { mintFor } from "../sdk/registry/enter-path.js";
import { guardFind } from "../sdk/registry/guard-find.js";
import { Code, statusError } from "../sdk/status.js";
import type { Health } from "../sdk/telemetry/health.js";
import { type Log, parseLogLevel } from "../sdk/telemetry/log.js";
import type { Metrics } from "../sdk/telemetry/metrics.js";
import type { Dialer, RemoteRegistry } from "../sdk/transport/dial.js";
import type { ServiceBinding } from "../sdk/transport/edge.js";
import {
  connectionService,
  endpointRegistryService,
  findOf,
  healthService,
  type Inspect,
  inspectService,
  monitorService,
  serviceRegistryService,
} from "../sdk/transport/services.js";
import { closeTimeoutMs, nsmgrChain } from "./chain.js";
import type { NsmgrConfig } from "./config.js";
import type { Directory } from "./directory.js";
import { type Drains, drainEndpoints } from "./drain-endpoints.js";
import type { PrefixList } from "./exclude-prefixes.js";
import { findEndpoints } from "./find-endpoints.js";
import { limitTime } from "./limit-time.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import type { RegistryState } from "./probe-registry.js";
import { recoverConnections } from "./recover.js";
import { endpointRegistryChain, serviceRegistryChain } from "./registry-chain.js";
import { reportFacts } from "./report.js";

/** What a running manager is made of. */
export interface Parts {
  readonly config: NsmgrConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  readonly metrics?: Metrics | undefined;
  readonly identity?: Identity | undefined;
  /** Absent = whoever reaches a socket may. */
  readonly policies?: Policies | undefined;
  /** What callers may have under way where none has an identity. */
  readonly peers?: Admission | undefined;
  readonly hub: MonitorHub;
  readonly journal: Journal;
  readonly health: Health;
  readonly prefixes: PrefixList;
  readonly dialer: Dialer;
  readonly services: RemoteRegistry<NetworkService>;
  readonly endpoints: RemoteRegistry<NetworkServiceEndpoint>;
  /** Identities along the way of an entry of this node, by its name. */
  readonly pathIdsOf: (name: string) => readonly string[] | undefined;
  readonly directory: Directory;
  readonly locals: LocalEndpoints;
  /** Known for certain once it listens. */
  readonly publicUrl: () => string;
  readonly registryState: () => RegistryState;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

export function nsmgrServices(parts: Parts): ServiceBinding[] {
  const { config, directory, locals, publicUrl, policies } = parts;
  const mintToken = mintFor(parts.identity);
  const drains = drainEndpoints({ name: config.name, locals, hub: parts.hub });
  const inspect = inspectOf(parts, drains);
  const announcements = announcementsTo(parts.hub, parts.metrics);
  const find = findEndpoints({ upstream: directory.endpoints.find, locals, publicUrl });
  const serializer = serialize({
    log: parts.log,
    closeTimeoutMs,
    ownership: policies?.ownership,
    closeRestored: (connection) => handler.close(connection, backgroundCall(parts.signal)),
    knowsAll: (signal) => recovery.known(signal),
  });
  const expiry = expire(parts.clock, parts.signal);
  const chained = { ...parts, announcements, find, drains, serialize: serializer, expire: expiry };
  const handler = nsmgrChain({ ...chained, recovery: () => recovery });
  const recovery = recoverConnections({ ...parts, ...config, announcements, serialize: serializer, expire: expiry, handler });
  const entries = { ...config, ...parts };
  // Others' look-ups go to the registry itself: they have caches of their own, and ask us when these may be wrong.
  const findDirectly = findEndpoints({ upstream: parts.endpoints.find, locals, publicUrl });
  return [
    connectionService(limitTime(handler, config.requestTimeoutMs)),
    monitorService(policies?.monitor(parts.hub) ?? parts.hub),
    serviceRegistryService(serviceRegistryChain(entries), guardFind(findOf(parts.services), policies?.registry, mintToken)),
    endpointRegistryService(endpointRegistryChain(entries), guardFind(findDirectly, policies?.registry, mintToken)),
    healthService(parts.health),
    inspectService(policies?.inspect(inspect) ?? inspect),
  ];
}

/** Metrics follow what watchers are told. */
function announcementsTo(hub: MonitorHub, metrics: Metrics | undefined): Announcements {
  if (metrics === undefined) return hub;
  return {
    publish(connection) {
      hub.publish(connection);
      metrics.recordConnection(connection);
    },
    remove(connection) {
      hub.remove(connection);
      metrics.forgetConnection(connection.id);
    },
  };
}

function inspectOf(parts: Parts, drains: Drains): Inspect {
  const { config, log, journal } = parts;
  return {
    drain: async (request) => {
      const wanted = drains.of(request.endpoint);
      return drainAnswer(config.name, await (request.undo ? wanted.end() : wanted.begin(request.wait_ms)));
    },
    explain: async ({ connection_id }) => ({ component: config.name, decisions: journal.explain(connection_id) }),
    getReport: async ({ section }) => ({
      component: config.name,
      facts: reportFacts(
        {
          endpoints: parts.locals.all(),
          forwarderService: config.forwarderServiceName,
          connections: parts.hub.connections(),
          registryUrl: config.registryUrl,
          registry: parts.registryState(),
          publicUrl: parts.publicUrl(),
          excludedPrefixes: parts.prefixes.current(),
        },
        section,
      ),
    }),
    setLogLevel: async ({ level }) => {
      const wanted = parseLogLevel(level);
      if (level !== "" && wanted === undefined) {
        throw statusError(Code.INVALID_ARGUMENT, `log level "${level}" is unknown; use trace, debug, info, warn or error`);
      }
      if (wanted !== undefined) log.level = wanted;
      return { level: log.level };
    },
  };
}
