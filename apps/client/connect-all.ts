/** Connects a workload to all its services, one interface each; every connection heals on its own afterwards. */
import type { ChainObserver } from "../../sdk/chain.js";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import type { Whereabouts } from "../../sdk/elements/label-workload.js";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import type { ServiceUrl } from "../../sdk/mechanisms/service-url.js";
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
  readonly log: Log;
  readonly observer: ChainObserver;
  readonly signal: AbortSignal;
  /** Told of each connection as it comes up. */
  readonly onConnected: (connection: ClientConnection) => void;
}

/**
 * One after another, because a later service must not be given the addresses of an earlier one. Each is tried until it is
 * there. What has been connected stays so when the signal ends the rest.
 */
export async function connectAll(options: ConnectAllOptions): Promise<void> {
  const granted: Granted[] = [];
  for (const [index, service] of options.services.entries()) {
    const excluded_prefixes = excludedFor(service, granted, options.awarenessGroups);
    const connection = await connect({
      url: service,
      // The same names as upstream's, so that sidecar and init container mean the same connection.
      id: `${options.name}-${index}`,
      name: options.name,
      nsmgr: options.nsmgr,
      labels: { ...options.labels, ...service.labels },
      workload: options.workload,
      context: ConnectionContext.fromPartial({ ip_context: { excluded_prefixes } }),
      requestTimeoutMs: options.requestTimeoutMs,
      maxTokenLifetimeMs: options.maxTokenLifetimeMs,
      ...(options.liveness === undefined
        ? { liveness: false as const }
        : { livenessIntervalMs: options.liveness.intervalMs, livenessTimeoutMs: options.liveness.timeoutMs }),
      ...(options.netnsUrl === undefined ? {} : { netnsUrl: options.netnsUrl }),
      log: options.log.child({ service: service.networkService }),
      observer: options.observer,
      signal: options.signal,
    });
    granted.push({ service, context: connection.context });
    options.log.info(`connected to ${service.networkService}`, {
      connectionId: connection.id,
      interface: connection.interfaceName,
      addresses: connection.context.ip_context?.src_ip_addrs ?? [],
      endpoint: connection.connection.network_service_endpoint_name,
    });
    options.onConnected(connection);
  }
}
