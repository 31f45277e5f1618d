/** What the node manager does with entries of the registry, in order, on their way to the registry itself. */
import type { EndpointRegistryApi, Found, RegistryApi, ServiceRegistryApi } from "../sdk/api.js";
import { type CallContext, type ChainObserver, chain, type Handler } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, isStatusError, statusError, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";
import { expireEndpoint } from "./expire-endpoint.js";
import { labelEndpoint } from "./label-endpoint.js";
import { localBypass } from "./local-bypass.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { oneAtATime } from "./one-at-a-time.js";

export interface RegistryChainDeps {
  readonly name: string;
  readonly services: RemoteRegistry<NetworkService>;
  readonly endpoints: RemoteRegistry<NetworkServiceEndpoint>;
  /** Where the registry is, for texts. */
  readonly registryUrl: string;
  readonly locals: LocalEndpoints;
  readonly publicUrl: () => string;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly endpointLifetimeMs: number;
  readonly requestTimeoutMs: number;
  readonly log: Log;
  readonly observer?: ChainObserver | undefined;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

const methods = ["register", "unregister"] as const;

export function endpointRegistryChain(deps: RegistryChainDeps): Handler<EndpointRegistryApi> {
  const { clock, log, signal } = deps;
  return (
    chain<EndpointRegistryApi>(`${deps.name}/endpoints`, methods, deps.observer)
      // Where does it run?
      .use(labelEndpoint(deps.nodeLabels))
      // Keep it alive, let it go.
      .use(expireEndpoint({ clock, maxLifetimeMs: deps.endpointLifetimeMs, timeoutMs: deps.requestTimeoutMs, log, signal }))
      .use(oneAtATime())
      // How is it reached from here, how from elsewhere?
      .use(localBypass(deps.locals, deps.publicUrl))
      .end(passOn(deps.endpoints, deps))
  );
}

export function serviceRegistryChain(deps: RegistryChainDeps): Handler<ServiceRegistryApi> {
  return chain<ServiceRegistryApi>(`${deps.name}/services`, methods, deps.observer).end(passOn(deps.services, deps));
}

/** The Find of a registry, with a text that says which part is away. */
export function findIn<T>(registry: RemoteRegistry<T>, registryUrl: string) {
  return async function* (query: T, options: { watch: boolean; signal: AbortSignal }): AsyncGenerator<Found<T>> {
    try {
      yield* registry.find(query, options);
    } catch (error) {
      throw registryError(error, registryUrl);
    }
  };
}

/** The end of both chains: the registry. The `path` header (its tokens, as JSON) is passed through both ways. */
function passOn<T>(
  registry: RemoteRegistry<T>,
  deps: Pick<RegistryChainDeps, "registryUrl" | "requestTimeoutMs">,
): Handler<RegistryApi<T>> {
  const callOf = (context: CallContext): Parameters<RemoteRegistry<T>["register"]>[1] => {
    const [path] = context.metadata("path");
    return {
      signal: context.signal,
      deadlineMs: context.deadlineMs ?? Date.now() + deps.requestTimeoutMs,
      traceparent: context.traceparent,
      ...(path === undefined ? {} : { metadata: { path } }),
      onHeader: (name, value) => {
        if (name === "path") context.reply(name, value);
      },
    };
  };
  const named = async <R>(run: () => Promise<R>): Promise<R> => {
    try {
      return await run();
    } catch (error) {
      throw registryError(error, deps.registryUrl);
    }
  };
  return {
    register: (entry, context) => named(() => registry.register(entry, callOf(context))),
    unregister: (entry, context) => named(() => registry.unregister(entry, callOf(context))),
  };
}

/** The same error; when nobody answered, it says who, what stays and what to do. */
export function registryError(error: unknown, registryUrl: string): unknown {
  const status = isStatusError(error) ? error : toStatusError(error);
  if (status.code !== Code.UNAVAILABLE) return error;
  const text = `registry ${registryUrl} is away (${status.details}); existing connections stay; try again when it is back`;
  return statusError(Code.UNAVAILABLE, text, error);
}
