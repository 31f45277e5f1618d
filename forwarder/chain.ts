/** What the forwarder does with a request, in order. Read this first. */
import type { ConnectionApi } from "../sdk/api.js";
import { type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { type Announcements, announce } from "../sdk/elements/announce.js";
import { authorize, type ConnectionPolicy } from "../sdk/elements/authorize.js";
import { enterPath } from "../sdk/elements/enter-path.js";
import { type ExchangeTokensOptions, exchangeTokens } from "../sdk/elements/exchange-tokens.js";
import type { Expire } from "../sdk/elements/expire.js";
import { forward } from "../sdk/elements/forward.js";
import type { Serialize } from "../sdk/elements/serialize.js";
import { undo } from "../sdk/elements/undo.js";
import { validateRequest } from "../sdk/elements/validate-request.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Dialer } from "../sdk/transport/dial.js";
import type { Connections } from "./connections.js";
import { type CrossConnectOptions, crossConnect } from "./cross-connect.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { type FindEndpointOptions, findEndpoint } from "./find-endpoint.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import type { VniPool } from "./vni.js";

export interface ForwarderChainDeps {
  /** Name of this forwarder in paths and in the registry. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer: ChainObserver | undefined;
  readonly maxTokenLifetimeMs: number;
  readonly mintToken?: ExchangeTokensOptions["mintToken"];
  readonly policies?: ConnectionPolicy | undefined;
  readonly serialize: Serialize;
  readonly expire: Expire;
  readonly watchers: Announcements;
  readonly endpoints: FindEndpointOptions["endpoints"];
  readonly dialer: Pick<Dialer, "connections">;
  readonly dataPlane: DataPlane;
  readonly kinds: readonly MechanismKind[];
  readonly connections: Connections;
  readonly vnis: VniPool;
  readonly mechanismPriority: readonly string[];
  readonly tell?: CrossConnectOptions["tell"];
}

export function forwarderChain(deps: ForwarderChainDeps): Handler<ConnectionApi> {
  const { clock, log, connections, maxTokenLifetimeMs } = deps;
  return (
    chain<ConnectionApi>("forwarder", ["request", "close"], deps.observer)
      // Who asks, and may they?
      .use(validateRequest())
      .use(enterPath(deps.name))
      .use(deps.serialize)
      .use(exchangeTokens({ clock, maxTokenLifetimeMs, mintToken: deps.mintToken }))
      .use(authorize(deps.policies))
      // Keep it alive, let it go, tell who watches.
      .use(deps.expire)
      .use(announce(deps.watchers))
      .use(undo({ log }))
      // Where does it go next, and how is it built?
      .use(findEndpoint({ endpoints: deps.endpoints, connections, clock, log }))
      .use(
        crossConnect({
          dataPlane: deps.dataPlane,
          kinds: deps.kinds,
          connections,
          vnis: deps.vnis,
          priority: deps.mechanismPriority,
          clock,
          maxTokenLifetimeMs,
          log,
          ...(deps.tell === undefined ? {} : { tell: deps.tell }),
        }),
      )
      .end(forward({ dialer: deps.dialer, log }))
  );
}
