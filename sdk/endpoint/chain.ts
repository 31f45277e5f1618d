/** What an endpoint does with a request, in order. Read this first. */
import type { ConnectionApi, Payload } from "../api.js";
import { type ChainObserver, chain, type Handler } from "../chain.js";
import type { Clock } from "../clock.js";
import { admit } from "../elements/admit.js";
import { type Announcements, announce } from "../elements/announce.js";
import { authorize } from "../elements/authorize.js";
import type { Drain } from "../elements/drain.js";
import { enterPath } from "../elements/enter-path.js";
import { type ExchangeTokensOptions, exchangeTokens } from "../elements/exchange-tokens.js";
import type { Expire } from "../elements/expire.js";
import type { Serialize } from "../elements/serialize.js";
import { trimPath } from "../elements/trim-path.js";
import { undo } from "../elements/undo.js";
import { validateRequest } from "../elements/validate-request.js";
import { Connection } from "../gen/connection.js";
import type { DNSConfig, PolicyRoute, Route } from "../gen/connectioncontext.js";
import type { Policies } from "../policies/policies.js";
import type { Log } from "../telemetry/log.js";
import { addDns } from "./add-dns.js";
import { addRoutes } from "./add-routes.js";
import { assignAddresses } from "./assign-addresses.js";
import { checkService } from "./check-service.js";
import { chooseMechanism, type MechanismOptions } from "./choose-mechanism.js";
import { type Customize, customize } from "./customize.js";
import type { Ipam } from "./ipam/ipam.js";
import type { Memory } from "./remember.js";
import { routeByPolicy } from "./route-by-policy.js";
import type { IdleWatch } from "./stop-when-idle.js";
import type { Owner } from "./tell-owner.js";

export interface EndpointDeps {
  readonly name: string;
  readonly services: readonly string[];
  readonly payload: Payload;
  readonly log: Log;
  readonly observer: ChainObserver | undefined;
  readonly clock: Clock;
  readonly serialize: Serialize;
  readonly expire: Expire;
  readonly hub: Announcements;
  readonly drain: Drain;
  readonly tokens: ExchangeTokensOptions;
  /** Absent = whoever reaches the socket may. */
  readonly policies: Pick<Policies, "connections" | "tenants"> | undefined;
  readonly memory: Memory;
  readonly idle: IdleWatch;
  readonly ipam: Ipam;
  readonly routes: readonly Route[];
  readonly policyRoutes: () => readonly PolicyRoute[];
  readonly dns: readonly DNSConfig[];
  readonly mechanism: MechanismOptions;
  readonly customize: Customize | undefined;
  readonly owner: Owner;
}

export function endpointChain(deps: EndpointDeps): Handler<ConnectionApi> {
  return (
    chain<ConnectionApi>("endpoint", ["request", "close"], deps.observer)
      // Who asks, and may they?
      .use(validateRequest())
      .use(enterPath(deps.name))
      .use(exchangeTokens(deps.tokens))
      .use(authorize(deps.policies?.connections))
      .use(deps.serialize)
      .use(admit(deps.policies?.tenants))
      // Keep it alive, let it go, tell who watches.
      .use(deps.expire)
      .use(announce(deps.hub))
      .use(deps.drain)
      .use(undo({ log: deps.log }))
      .use(trimPath())
      .use(deps.memory.element)
      .use(deps.idle.element)
      // What does the client get?
      .use(checkService(deps.name, deps.services, deps.payload))
      .use(chooseMechanism(deps.mechanism))
      .use(routeByPolicy(deps.policyRoutes))
      .use(assignAddresses(deps.ipam))
      .use(addRoutes(deps.routes))
      .use(addDns(deps.dns))
      .use(customize(deps.customize))
      // Last, so that the author sees what the client will see.
      .use(deps.owner.element)
      .end({
        request: async (request) => request.connection ?? Connection.fromPartial({}),
        close: async () => {},
      })
  );
}
