/** Connects a workload to all its services, one interface each; every connection heals on its own afterwards. */
import type { ChainObserver } from "../../sdk/chain.js";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import type { Whereabouts } from "../../sdk/elements/label-workload.js";
import { ConnectionContext, IPContext } from "../../sdk/gen/connectioncontext.js";
import type { Identity } from "../../sdk/identity/identity.js";
import type { ServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { Code, toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { excludedFor, type Granted } from "./excluded-prefixes.js";

export interface ConnectAllOptions {
  readonly name: string;
  readonly services: readonly ServiceUrl[];
  readonly awarenessGroups: readonly (readonly ServiceUrl[])[];
  readonly labels: Readonly<Record<string, string>>;
  readonly workload: Whereabouts;
  readonly nsmgr: string;
  readonly requestTimeoutMs: number;
  readonly maxTokenLifetimeMs: number;
  /** Undefined: packets are not looked at. */
  readonly liveness: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
  readonly netnsUrl: string | undefined;
  readonly identity: Identity | undefined;
  readonly log: Log;
  readonly observer: ChainObserver;
  readonly signal: AbortSignal;
  /** Told of each connection as it comes up. */
  readonly onConnected: (connection: ClientConnection) => void;
}

/** How long one service may keep the others waiting, in milliseconds. */
const turnMs = 2_000;

/**
 * One after another, because a later service must not be given the addresses of an earlier one. Each is tried until it is
 * there; one that is not there yet lets the others go first. What has been connected stays so when the signal ends the rest.
 */
export async function connectAll(options: ConnectAllOptions): Promise<void> {
  const granted: Granted[] = [];
  const waiting = options.services.map((service, index) => ({ service, index }));
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { service, index } = next;
    const connection = await connectOne(options, service, index, granted, waiting.length > 0 ? turnMs : undefined);
    if (connection === undefined) {
      options.log.warn(`${service.networkService} is not there yet; the others go first`);
      waiting.push(next);
      continue;
    }
    granted.push({
      service,
      get context() {
        return connection.context; // it may have changed since
      },
    });
    options.log.info(`connected to ${service.networkService}`, {
      connectionId: connection.id,
      interface: connection.interfaceName,
      addresses: connection.context.ip_context?.src_ip_addrs ?? [],
      endpoint: connection.connection.network_service_endpoint_name,
    });
    options.onConnected(connection);
  }
}

/** Undefined: not connected in time. */
async function connectOne(
  options: ConnectAllOptions,
  service: ServiceUrl,
  index: number,
  granted: readonly Granted[],
  timeoutMs: number | undefined,
): Promise<ClientConnection | undefined> {
  const context: ConnectionContext = {
    ...ConnectionContext.fromPartial({}),
    // Read at each request for an endpoint, so that a connection that heals later leaves out what others have by then.
    get ip_context() {
      const others = granted.filter((other) => other.service !== service);
      return IPContext.fromPartial({ excluded_prefixes: excludedFor(service, others, options.awarenessGroups) });
    },
  };
  try {
    return await connect({
      url: service,
      // The same names as upstream's, so that sidecar and init container mean the same connection.
      id: `${options.name}-${index}`,
      name: options.name,
      nsmgr: options.nsmgr,
      labels: { ...options.labels, ...service.labels },
      workload: options.workload,
      context,
      requestTimeoutMs: options.requestTimeoutMs,
      maxTokenLifetimeMs: options.maxTokenLifetimeMs,
      ...(timeoutMs === undefined ? {} : { connectTimeoutMs: timeoutMs }),
      ...(options.liveness === undefined
        ? { liveness: false as const }
        : { livenessIntervalMs: options.liveness.intervalMs, livenessTimeoutMs: options.liveness.timeoutMs }),
      ...(options.netnsUrl === undefined ? {} : { netnsUrl: options.netnsUrl }),
      identity: options.identity,
      log: options.log.child({ service: service.networkService }),
      observer: options.observer,
      signal: options.signal,
    });
  } catch (error) {
    if (timeoutMs === undefined || options.signal.aborted || toStatusError(error).code !== Code.DEADLINE_EXCEEDED) throw error;
    return undefined;
  }
}
