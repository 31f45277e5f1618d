/** What a log line about a call must carry, so that lines of all components can be joined. */
import type { LogFields } from "./log.js";

/**
 * Connection id and trace id of a call, for `log.child` or as fields of one line.
 * @param input  a Connection, a NetworkServiceRequest, a registry entry, or anything else (then without an id)
 */
export function callFields(context: { readonly traceparent: string | undefined }, input?: unknown): LogFields {
  const fields: Record<string, string> = {};
  const connectionId = connectionIdOf(input);
  if (connectionId) fields["connectionId"] = connectionId;
  const traceId = traceIdOf(context.traceparent);
  if (traceId) fields["traceId"] = traceId;
  return fields;
}

/** The connection id in an input of the connection API; undefined elsewhere. */
export function connectionIdOf(input: unknown): string | undefined {
  if (typeof input !== "object" || input === null) return undefined;
  const request = input as { connection?: unknown; id?: unknown; path?: unknown };
  const connection = typeof request.connection === "object" && request.connection !== null ? request.connection : request;
  if (connection === request && !("path" in request)) return undefined;
  const { id } = connection as { id?: unknown };
  return typeof id === "string" && id !== "" ? id : undefined;
}

/** The 32 hexadecimal digits of the trace in a W3C traceparent. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent === undefined ? undefined : /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(traceparent)?.[1];
}
