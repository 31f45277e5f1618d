/** What the node manager does with entries of the registry, in order, on their way to the registry itself. */
import type { EndpointRegistryApi, RegistryApi, ServiceRegistryApi } from "../sdk/api.js";
import { type CallContext, type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import type { Policies } from "../sdk/policies/policies.js";
import { mintFor } from "../sdk/registry/enter-path.js";
import { formatPathHeader, leaveRegistryPath, parsePathHeader, pathHeader } from "../sdk/registry/path-header.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";
import { expireEndpoint } from "./expire-endpoint.js";
import { fenceEndpoint } from "./fence-endpoint.js";
import { fenceFormer } from "./fence-former.js";
import { labelEndpoint } from "./label-endpoint.js";
import { localBypass } from "./local-bypass.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { oneAtATime } from "./one-at-a-time.js";
import { resolveUrl } from "./resolve-url.js";
import { type HasPath, type VouchOptions, vouch } from "./vouch.js";

export interface RegistryChainDeps {
  readonly name: string;
  readonly services: RemoteRegistry<NetworkService>;
  readonly endpoints: RemoteRegistry<NetworkServiceEndpoint>;
  readonly locals: LocalEndpoints;
  /** Identities along the way of an entry of this node; absent = those of `locals`. */
  readonly pathIdsOf?: VouchOptions["pathIdsOf"] | undefined;
  readonly publicUrl: () => string;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly endpointLifetimeMs: number;
  readonly requestTimeoutMs: number;
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  /** Absent = the path of an entry is only passed on. */
  readonly identity?: Identity | undefined;
  /** Absent = whoever reaches a socket may. */
  readonly policies?: Pick<Policies, "registry"> | undefined;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

const methods = ["register", "unregister"] as const;

export function endpointRegistryChain(deps: RegistryChainDeps): Handler<EndpointRegistryApi> {
  const { clock, log, signal } = deps;
  return (
    chain<EndpointRegistryApi>(`${deps.name}/endpoints`, methods, deps.observer)
      // Who asks, and may they?
      .use(vouch(vouchOptions(deps, deps.pathIdsOf ?? ((name) => deps.locals.get(name)?.path_ids))))
      // Where does it run?
      .use(labelEndpoint(deps.nodeLabels))
      // Keep it alive, let it go.
      .use(expireEndpoint({ clock, maxLifetimeMs: deps.endpointLifetimeMs, expired: deps.locals.delete, log, signal }))
      .use(oneAtATime())
      // How is it reached from here, how from elsewhere?
      .use(resolveUrl())
      .use(fenceEndpoint(deps.locals, clock))
      .use(localBypass(deps.locals, deps.publicUrl))
      .use(fenceFormer(deps))
      .end(passOn(deps.endpoints, deps))
  );
}

export function serviceRegistryChain(deps: RegistryChainDeps): Handler<ServiceRegistryApi> {
  return chain<ServiceRegistryApi>(`${deps.name}/services`, methods, deps.observer)
    .use(vouch(vouchOptions(deps, () => undefined)))
    .end(passOn(deps.services, deps));
}

function vouchOptions({ identity, policies }: RegistryChainDeps, pathIdsOf: VouchOptions["pathIdsOf"]): VouchOptions {
  return { mintToken: mintFor(identity), policy: policies?.registry, pathIdsOf };
}

/** The end of both chains: the registry. The `path` header (tokens, as JSON) goes both ways; see vouch. */
function passOn<T>(
  registry: RemoteRegistry<T>,
  deps: Pick<RegistryChainDeps, "requestTimeoutMs">,
): Handler<RegistryApi<T>, HasPath> {
  const callOf = (context: CallContext & HasPath): Parameters<RemoteRegistry<T>["register"]>[1] => {
    const entered = context.path;
    const path = entered === undefined ? context.metadata(pathHeader)[0] : formatPathHeader(entered);
    return {
      signal: context.signal,
      deadlineMs: context.deadlineMs ?? Date.now() + deps.requestTimeoutMs,
      traceparent: context.traceparent,
      ...(path === undefined ? {} : { metadata: { path } }),
      onHeader: (name, value) => {
        if (name !== pathHeader) return;
        if (entered === undefined) return context.reply(name, value);
        const answered = parsePathHeader([value]);
        if (answered !== undefined)
          context.reply(name, formatPathHeader(leaveRegistryPath({ ...answered, index: entered.index })));
      },
    };
  };
  return {
    register: (entry, context) => registry.register(entry, callOf(context)),
    unregister: (entry, context) => registry.unregister(entry, callOf(context)),
  };
}
