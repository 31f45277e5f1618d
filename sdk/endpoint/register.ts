/** Enters an endpoint and, where they are missing, its services into the registry, and keeps them there. */
import type { EndpointRegistry, Payload, ServiceRegistry } from "../api.js";
import type { Clock } from "../clock.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import type { Policies } from "../policies/policies.js";
import { keepRegistered, type Registration } from "../registry/keep-registered.js";
import { createBackOff, pause } from "../registry/pause.js";
import { toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";

export interface RegisterOptions {
  readonly name: string;
  readonly url: string;
  readonly services: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly payload: Payload;
  readonly registerService: boolean;
  readonly serviceRegistry: ServiceRegistry;
  readonly endpointRegistry: EndpointRegistry;
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A newer incarnation has the name. */
  readonly onSuperseded?: (() => void) | undefined;
}

/** The registry behind a manager, as far as its answers are to be trusted. */
export function registriesOf(
  dialer: Pick<Dialer, "serviceRegistry" | "endpointRegistry">,
  url: string,
  trust: Pick<Policies, "ofRegistry"> | undefined,
): Pick<RegisterOptions, "serviceRegistry" | "endpointRegistry"> {
  const [services, endpoints] = [dialer.serviceRegistry(url), dialer.endpointRegistry(url)];
  if (trust === undefined) return { serviceRegistry: services, endpointRegistry: endpoints };
  return { serviceRegistry: trust.ofRegistry(services), endpointRegistry: trust.ofRegistry(endpoints) };
}

/** The services first: an endpoint of a service that nobody knows is found by nobody. */
export async function register(options: RegisterOptions): Promise<Registration<NetworkServiceEndpoint>> {
  if (options.registerService) await Promise.all(options.services.map((name) => keepService(name, options)));
  return keepRegistered(options.endpointRegistry, entryOf(options), options);
}

/** An entry in the registry that can be taken out and put back. */
export interface Registered {
  leave(): Promise<void>;
  enter(): Promise<void>;
}

/**
 * Enters it now; resolves and throws as `register` does.
 * @param giveUp  ends the waiting for the first answer; afterwards it means to leave in order, with the entry taken out
 */
export async function enterRegistry(options: RegisterOptions, giveUp: AbortSignal): Promise<Registered> {
  const first = new AbortController();
  const abandon = (): void => first.abort(giveUp.reason);
  giveUp.addEventListener("abort", abandon);
  const signal = AbortSignal.any([options.signal, first.signal]);
  let entered: Registration<NetworkServiceEndpoint> | undefined = await register({ ...options, signal }).finally(() =>
    giveUp.removeEventListener("abort", abandon),
  );
  return {
    async leave() {
      const left = entered;
      entered = undefined;
      await left?.unregister();
    },
    async enter() {
      entered ??= await register(options);
    },
  };
}

function entryOf({ name, url, services, labels }: RegisterOptions): NetworkServiceEndpoint {
  const perService = services.map((service) => [service, { labels: { ...labels } }] as const);
  return NetworkServiceEndpoint.fromPartial({
    name,
    url,
    network_service_names: [...services],
    network_service_labels: Object.fromEntries(perService),
  });
}

/** Resolves when the service is there; afterwards it is looked after in the background. */
async function keepService(name: string, options: RegisterOptions): Promise<void> {
  const { clock, log, signal } = options;
  const backOff = createBackOff(Math.random);
  const untilThere = async (): Promise<void> => {
    for (;;) {
      try {
        return await ensureService(name, options);
      } catch (error) {
        signal.throwIfAborted();
        log.warn(`cannot register service ${name}; trying again`, { error: toStatusError(error) });
        if (!(await pause(clock, backOff.nextMs(), signal))) throw signal.reason;
      }
    }
  };
  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      // A manager answers a Find from memory while its registry is away: only a watch shows that the service is not there.
      const disarm = clock.at(clock.nowMs() + unseenMs, () => void untilThere().catch(() => {}));
      try {
        // Nothing else of what it says matters: an operator may edit or delete the service. Its end means that the
        // registry has gone, and one that forgets comes back without the service.
        for await (const _ of options.serviceRegistry.find(NetworkService.fromPartial({ name }), { watch: true, signal }))
          disarm();
      } catch (error) {
        if (!signal.aborted) log.debug(`watch of service ${name} has ended`, { error: toStatusError(error) });
      } finally {
        disarm();
      }
      if (!(await pause(clock, backOff.nextMs(), signal))) return;
      await untilThere();
    }
  };
  await untilThere();
  watch().catch((error) => {
    if (!signal.aborted) log.error(`service ${name} is no longer looked after`, { error });
  });
}

/** A service that is there stays as it is: its matches are the operator's. */
async function ensureService(name: string, options: RegisterOptions): Promise<void> {
  const { serviceRegistry, payload, log } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(tryMs)]);
  for await (const { entry } of serviceRegistry.find(NetworkService.fromPartial({ name }), { watch: false, signal })) {
    if (entry.name !== name) continue;
    if (entry.payload !== "" && entry.payload !== payload) {
      log.warn(`service ${name} is registered with payload ${entry.payload}, this endpoint was made for ${payload}`);
    }
    return;
  }
  await serviceRegistry.register(NetworkService.fromPartial({ name, payload }), { signal });
}

/** A try of a call to the registry may take so long. */
const tryMs = 15_000;
/** A watch tells of a service that is there at once; after so long it is not there. */
const unseenMs = 500;
