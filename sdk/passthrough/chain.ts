/** What a function in the middle of a chain does with a request, in order. Read this first. */
import type { ConnectionApi, MechanismType, Payload } from "../api.js";
import { type ChainObserver, chain, type Element, type Handler } from "../chain.js";
import { admit } from "../elements/admit.js";
import { type Announcements, announce } from "../elements/announce.js";
import { authorize } from "../elements/authorize.js";
import type { Drain } from "../elements/drain.js";
import { enterPath } from "../elements/enter-path.js";
import { type ExchangeTokensOptions, exchangeTokens } from "../elements/exchange-tokens.js";
import type { Expire } from "../elements/expire.js";
import { forward, type HasNextHop } from "../elements/forward.js";
import type { HasConnection, Serialize } from "../elements/serialize.js";
import { type HasUndo, undo } from "../elements/undo.js";
import { validateRequest } from "../elements/validate-request.js";
import { checkService } from "../endpoint/check-service.js";
import { chooseMechanism } from "../endpoint/choose-mechanism.js";
import { kernelParameter } from "../mechanisms/kernel.js";
import type { Policies } from "../policies/policies.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import type { StandBetween } from "./stand-between.js";
import type { Wires } from "./tell-owner-of-wire.js";

export interface PassthroughDeps {
  readonly name: string;
  readonly services: readonly string[];
  readonly payload: Payload;
  readonly log: Log;
  readonly observer: ChainObserver | undefined;
  readonly serialize: Serialize;
  readonly expire: Expire;
  readonly hub: Announcements;
  readonly drain: Drain;
  readonly tokens: ExchangeTokensOptions;
  /** Absent = whoever reaches the socket may. */
  readonly policies: Pick<Policies, "connections" | "tenants"> | undefined;
  /** By which the function is reached, and reaches the next one. */
  readonly mechanisms: readonly MechanismType[];
  /** Namespace that gets both interfaces. */
  readonly netnsUrl: string;
  readonly wires: Wires;
  readonly standBetween: StandBetween;
  readonly watchNeighbours: Element<ConnectionApi, HasConnection & HasUndo & HasNextHop>;
  readonly dialer: Dialer;
}

export function passthroughChain(deps: PassthroughDeps): Handler<ConnectionApi> {
  return (
    chain<ConnectionApi>("passthrough", ["request", "close"], deps.observer)
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
      // The interface towards the client: one end of a wire, without addresses; or rings.
      .use(checkService(deps.name, deps.services, deps.payload))
      .use(
        chooseMechanism({
          types: deps.mechanisms,
          netnsUrl: deps.netnsUrl,
          kernelParameters: { [kernelParameter.unnumbered]: "true" },
        }),
      )
      .use(deps.wires.element)
      // And on to the next function.
      .use(deps.standBetween)
      .use(deps.watchNeighbours)
      .end(forward({ dialer: deps.dialer, log: deps.log }))
  );
}
