/** What the forwarder does with a request, in order. Read this first. */
import type { ConnectionApi, Registry } from "../sdk/api.js";
import { type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { admit } from "../sdk/elements/admit.js";
import { announce } from "../sdk/elements/announce.js";
import { authorize } from "../sdk/elements/authorize.js";
import { chooseEndpoint } from "../sdk/elements/choose-endpoint.js";
import { enterPath } from "../sdk/elements/enter-path.js";
import { exchangeTokens } from "../sdk/elements/exchange-tokens.js";
import type { Expire } from "../sdk/elements/expire.js";
import type { Journal } from "../sdk/elements/explain.js";
import { forward } from "../sdk/elements/forward.js";
import type { OwedCloses } from "../sdk/elements/owed-closes.js";
import { answeredNamespaces } from "../sdk/elements/resolve-namespace.js";
import type { Serialize } from "../sdk/elements/serialize.js";
import { undo } from "../sdk/elements/undo.js";
import { validateRequest } from "../sdk/elements/validate-request.js";
import type { NetworkService } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { watchNeighbours } from "../sdk/monitor/neighbours.js";
import type { Policies } from "../sdk/policies/policies.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Dialer } from "../sdk/transport/dial.js";
import type { Connections } from "./connections.js";
import { crossConnect } from "./cross-connect.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { type FindEndpointOptions, findEndpoint } from "./find-endpoint.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import type { TrafficRules } from "./traffic.js";
import type { VniPool } from "./vni.js";

export interface ForwarderChainDeps {
  /** Name of this forwarder in paths and in the registry. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer: ChainObserver | undefined;
  readonly maxTokenLifetimeMs: number;
  /** Absent = no tokens. */
  readonly identity?: Identity | undefined;
  /** Absent = whoever reaches a socket may. */
  readonly policies?: Pick<Policies, "connections" | "tenants"> | undefined;
  readonly serialize: Serialize;
  readonly expire: Expire;
  readonly hub: MonitorHub;
  readonly services: Pick<Registry<NetworkService>, "find">;
  readonly endpoints: FindEndpointOptions["endpoints"];
  readonly dialer: Pick<Dialer, "connections" | "monitor">;
  /** Closes that next hops have not heard yet, kept over a restart; absent = not kept. */
  readonly owed?: OwedCloses | undefined;
  readonly journal: Pick<Journal, "note">;
  /** Ends what outlives calls: the streams to neighbours. */
  readonly signal: AbortSignal;
  readonly dataPlane: DataPlane;
  readonly kinds: readonly MechanismKind[];
  readonly connections: Connections;
  readonly vnis: VniPool;
  readonly mechanismPriority: readonly string[];
  /** What connections get, whatever their labels say. */
  readonly traffic?: TrafficRules | undefined;
}

export function forwarderChain(deps: ForwarderChainDeps): Handler<ConnectionApi> {
  const { name, clock, log, hub, journal, dialer, services, endpoints, connections, signal, maxTokenLifetimeMs } = deps;
  const { dataPlane, kinds, vnis, traffic, mechanismPriority: priority } = deps;
  const answered = answeredNamespaces();
  return (
    chain<ConnectionApi>("forwarder", ["request", "close"], deps.observer)
      // Who asks, and may they?
      .use(validateRequest())
      .use(enterPath(name))
      .use(exchangeTokens({ clock, maxTokenLifetimeMs, mintToken: deps.identity?.mintToken }))
      .use(authorize(deps.policies?.connections))
      .use(deps.serialize)
      .use(admit(deps.policies?.tenants))
      // Keep it alive, let it go, tell who watches.
      .use(deps.expire)
      .use(announce(hub))
      // Where does it go next? As a rule the manager has chosen the endpoint already.
      .use(chooseEndpoint({ services, endpoints, journal, nowMs: clock.nowMs }))
      .use(undo({ log }))
      .use(findEndpoint({ endpoints, connections, clock, log }))
      // How is it built?
      .use(answered.release)
      .use(crossConnect({ dataPlane, kinds, connections, vnis, priority, traffic, clock, maxTokenLifetimeMs, log, journal }))
      .use(answered.resolve)
      .use(watchNeighbours({ name, dialer, hub, log, signal }))
      .end(forward({ dialer, log, owed: deps.owed }))
  );
}
