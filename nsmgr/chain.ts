/** What the node manager does with a request, in order. Read this first. */
import type { ConnectionApi } from "../sdk/api.js";
import { type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { admit } from "../sdk/elements/admit.js";
import { admitPeers } from "../sdk/elements/admit-peers.js";
import { type Announcements, announce } from "../sdk/elements/announce.js";
import { answerOnce } from "../sdk/elements/answer-once.js";
import { authorize } from "../sdk/elements/authorize.js";
import { chooseEndpoint } from "../sdk/elements/choose-endpoint.js";
import { enterPath } from "../sdk/elements/enter-path.js";
import { exchangeTokens } from "../sdk/elements/exchange-tokens.js";
import type { Expire } from "../sdk/elements/expire.js";
import type { Journal } from "../sdk/elements/explain.js";
import { forward } from "../sdk/elements/forward.js";
import { labelWorkload } from "../sdk/elements/label-workload.js";
import { resolveNamespace } from "../sdk/elements/resolve-namespace.js";
import type { Serialize } from "../sdk/elements/serialize.js";
import { undo } from "../sdk/elements/undo.js";
import { validateRequest } from "../sdk/elements/validate-request.js";
import type { Identity } from "../sdk/identity/identity.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { watchNeighbours } from "../sdk/monitor/neighbours.js";
import type { Admission } from "../sdk/policies/admission.js";
import type { Policies } from "../sdk/policies/policies.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Dialer } from "../sdk/transport/dial.js";
import { awaitRecovery } from "./await-recovery.js";
import { chooseForwarder } from "./choose-forwarder.js";
import type { NsmgrConfig } from "./config.js";
import type { Directory } from "./directory.js";
import type { Drains } from "./drain-endpoints.js";
import { excludePrefixes, type PrefixList } from "./exclude-prefixes.js";
import { fenceClient } from "./fence-client.js";
import type { FindEndpoints } from "./find-endpoints.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { paceBuilding } from "./pace-building.js";
import type { Recovery } from "./recover.js";
import { refuseLoops } from "./refuse-loops.js";
import { watchService } from "./watch-service.js";

export interface NsmgrChainDeps {
  readonly config: Pick<NsmgrConfig, "name" | "maxTokenLifetimeMs" | "forwarderServiceName" | "nodeLabels">;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  /** Absent = no tokens. */
  readonly identity?: Identity | undefined;
  /** Absent = whoever reaches a socket may. */
  readonly policies?: Pick<Policies, "connections" | "tenants"> | undefined;
  /** What callers may have under way where none has an identity. */
  readonly peers?: Pick<Admission, "enter"> | undefined;
  readonly serialize: Serialize;
  readonly expire: Expire;
  /** Told of every connection: monitor and metrics. */
  readonly announcements: Announcements;
  readonly hub: MonitorHub;
  readonly journal: Journal;
  readonly prefixes: Pick<PrefixList, "current">;
  readonly directory: Directory;
  readonly locals: LocalEndpoints;
  readonly drains: Drains;
  /** What a restarted manager hears of what it had; known when the chain is. */
  readonly recovery: () => Recovery;
  /** Endpoints as this node reaches them. */
  readonly find: FindEndpoints;
  readonly dialer: Dialer;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

/** Bound of one Close, in milliseconds: a reselect waits for it, and a hop that hangs lets go by expiry. */
export const closeTimeoutMs = 5_000;

export function nsmgrChain(deps: NsmgrChainDeps): Handler<ConnectionApi> {
  const { config, clock, log, directory, journal, signal } = deps;
  return (
    chain<ConnectionApi>(config.name, ["request", "close"], deps.observer)
      // Who asks, and may they?
      .use(validateRequest())
      .use(enterPath(config.name))
      .use(exchangeTokens({ clock, maxTokenLifetimeMs: config.maxTokenLifetimeMs, mintToken: deps.identity?.mintToken }))
      .use(authorize(deps.policies?.connections))
      .use(answerOnce())
      .use(deps.serialize)
      .use(admit(deps.policies?.tenants))
      .use(admitPeers(deps.peers))
      // after each has had its turn: its line knows no tenants
      .use(paceBuilding({ knows: (id) => deps.hub.get(id) !== undefined }))
      .use(fenceClient())
      // Keep it alive, let it go, tell who watches.
      .use(deps.expire)
      .use(announce(deps.announcements))
      // What is to be known of it further on?
      .use(labelWorkload(config.nodeLabels))
      .use(excludePrefixes(deps.prefixes))
      .use(resolveNamespace())
      // Where does it go next?
      .use(
        watchService({
          publish: deps.announcements.publish,
          find: directory.services.find,
          serviceOf: directory.serviceOf,
          endpointOf: directory.endpointOf,
          clock,
          log,
          signal,
        }),
      )
      .use(chooseEndpoint({ services: directory.services, endpoints: { find: deps.find }, journal }))
      .use(deps.drains)
      .use(refuseLoops(config.name))
      .use(
        chooseForwarder({
          locals: deps.locals,
          serviceName: config.forwarderServiceName,
          serviceOf: directory.serviceOf,
          drains: deps.drains.isDraining,
          isRegisteredHere: directory.isRegisteredHere,
          clock,
          explain: (id, candidate, verdict, rule) => journal.note(id, "choose-forwarder", candidate, verdict, rule),
        }),
      )
      .use(awaitRecovery(deps))
      // Go there; take back what comes of a try that fails.
      .use(undo({ log }))
      .use(watchNeighbours({ name: config.name, dialer: deps.dialer, hub: deps.hub, log, signal }))
      .end(forward({ dialer: deps.dialer, log }))
  );
}
