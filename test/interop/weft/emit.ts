/** Events on standard output, in the same words as the Go parts use. */
import { type Connection, type ConnectionEvent, ConnectionEventType, State } from "../../../sdk/gen/connection.js";
import { timestampMs } from "../../../sdk/timestamp.js";
import type { Described } from "../event-process.js";

export function emit(event: string, fields: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

export function described(connection: Connection): Described {
  const { src_ip_addrs = [], dst_ip_addrs = [] } = connection.context?.ip_context ?? {};
  return {
    id: connection.id,
    state: nameIn(State, connection.state),
    endpoint: connection.network_service_endpoint_name,
    mechanism: connection.mechanism?.type ?? "",
    addresses: [...src_ip_addrs, ...dst_ip_addrs],
    segments: (connection.path?.path_segments ?? []).map(({ name, id, expires, token }) => ({
      name,
      id,
      expires: expires === undefined ? "" : new Date(timestampMs(expires)).toISOString(),
      signed: token !== "",
    })),
  };
}

export function emitMonitored({ type, connections }: ConnectionEvent): void {
  emit("monitor", { type: nameIn(ConnectionEventType, type), connections: Object.values(connections).map(described) });
}

function nameIn(names: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}
