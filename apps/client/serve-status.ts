/** What a client tells of itself: health, and its connections as facts. */
import type { ClientConnection } from "../../sdk/client/connect.js";
import { inspectEndpoint } from "../../sdk/endpoint/inspect-endpoint.js";
import { Fact } from "../../sdk/gen/inspect.js";
import type { Identity } from "../../sdk/identity/identity.js";
import { auditTo } from "../../sdk/policies/audit.js";
import { guardInspect, operators } from "../../sdk/policies/inspect.js";
import type { Health } from "../../sdk/telemetry/health.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { type Listener, listen } from "../../sdk/transport/listen.js";
import { healthService, inspectService } from "../../sdk/transport/services.js";

export function serveStatus(
  name: string,
  url: string,
  health: Health,
  connections: readonly ClientConnection[],
  trust: { readonly identity: Identity | undefined; readonly operators: readonly string[] },
  log: Log,
): Promise<Listener> {
  const { identity } = trust;
  const report = async (): Promise<Fact[]> =>
    connections.map((each) =>
      Fact.fromPartial({
        section: "connections",
        name: each.connection.network_service,
        value: each.interfaceName,
        detail: `${(each.context.ip_context?.src_ip_addrs ?? []).join(", ")} → ${each.connection.network_service_endpoint_name}`,
        connection_id: each.id,
      }),
    );
  const open = inspectEndpoint(name, report, log);
  const isOperator = operators(trust.operators);
  const inspect = identity === undefined ? open : guardInspect(open, { audit: auditTo(log), isOperator });
  return listen({
    urls: [url],
    services: [healthService(health), inspectService(inspect)],
    identity,
    log,
    signal: new AbortController().signal,
  });
}
