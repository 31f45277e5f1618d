/** What the registry does with Register and Unregister, in order. Read this first; Find is in find.ts. */
import type { RegistryApi } from "../sdk/api.js";
import { type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Policies } from "../sdk/policies/policies.js";
import { enterPath, type PathOptions } from "../sdk/registry/enter-path.js";
import { admit } from "./admit.js";
import { authorize } from "./authorize.js";
import { checkEntry } from "./check-entry.js";
import { defaultPayload } from "./default-payload.js";
import { fence } from "./fence.js";
import { grantLease } from "./grant-lease.js";
import { type Entry, endpointKind, serviceKind } from "./kind.js";
import { type HasCurrent, lookUp } from "./look-up.js";
import { ownName } from "./own-name.js";
import type { Store, Stores } from "./store/store.js";

export interface ChainDeps extends PathOptions {
  readonly name: string;
  readonly stores: Stores;
  readonly clock: Clock;
  /** Longest life of an endpoint's entry without a refresh. */
  readonly leasePeriodMs: number;
  readonly observer?: ChainObserver | undefined;
  /** Absent = whoever reaches the socket may, but for names of others. */
  readonly policies?: Pick<Policies, "registry" | "tenants"> | undefined;
}

export function serviceChain(deps: ChainDeps): Handler<RegistryApi<NetworkService>> {
  return (
    chain<RegistryApi<NetworkService>>(`${deps.name}/services`, ["register", "unregister"], deps.observer)
      // Can it be kept, and who asks?
      .use(checkEntry(serviceKind))
      .use(enterPath(deps))
      // What would it replace, and may they?
      .use(defaultPayload())
      .use(lookUp(deps.stores.services.table))
      .use(authorize(deps.policies?.registry))
      .use(ownName(serviceKind))
      .use(admit(deps.policies?.tenants.admission, deps.stores.services.table))
      .end(keepIn(deps.stores.services))
  );
}

export function endpointChain(deps: ChainDeps): Handler<RegistryApi<NetworkServiceEndpoint>> {
  return (
    chain<RegistryApi<NetworkServiceEndpoint>>(`${deps.name}/endpoints`, ["register", "unregister"], deps.observer)
      // Can it be kept, and who asks?
      .use(checkEntry(endpointKind))
      .use(enterPath(deps))
      // What would it replace, and may they?
      .use(lookUp(deps.stores.endpoints.table))
      .use(authorize(deps.policies?.registry))
      .use(ownName(endpointKind))
      .use(admit(deps.policies?.tenants.admission, deps.stores.endpoints.table))
      .use(fence(deps.clock))
      // For how long?
      .use(grantLease({ clock: deps.clock, periodMs: deps.leasePeriodMs }))
      .end(keepIn(deps.stores.endpoints))
  );
}

/** The end of both chains. Unregister of what is not there is done already. */
function keepIn<T extends Entry>(store: Store<T>): Handler<RegistryApi<T>, HasCurrent<T>> {
  return {
    async register(entry, { current }) {
      await store.replace(entry.name, current, entry);
      return entry;
    },
    async unregister({ name }, { current }) {
      if (current !== undefined) await store.replace(name, current, undefined);
    },
  };
}
