/** A message of the simulated network in one line of a trace. */
import type { Connection } from "../../sdk/gen/connection.js";
import { State } from "../../sdk/gen/connection.js";
import type { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import type { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { timestampMs } from "../../sdk/timestamp.js";

const idDigits = 6;
const states: Readonly<Record<number, string>> = Object.fromEntries(Object.entries(State).map(([name, value]) => [value, name]));

/** What of it tells one from another; undefined: not a message of which this is known. */
export function brief(message: unknown): string | undefined {
  const { connection } = message as Partial<NetworkServiceRequest>;
  const shown = connection ?? (message as Partial<Connection & NetworkServiceEndpoint>);
  if (shown === undefined) return undefined;
  if ("path" in shown) return ofConnection(shown);
  return "network_service_names" in shown ? ofEndpoint(shown) : undefined;
}

function ofConnection({ path, state, network_service_endpoint_name: endpoint, context }: Partial<Connection>): string {
  const hops = path?.path_segments.map(({ name, id }) => `${name}:${id.slice(0, idDigits)}`) ?? [];
  const addresses = context?.ip_context?.src_ip_addrs ?? [];
  return [states[state ?? State.UP], endpoint || "-", ...hops, ...addresses].join(" ");
}

function ofEndpoint({ name, url, initial_registration_time: born }: Partial<NetworkServiceEndpoint>): string {
  return `${name} at ${url || "-"}${born === undefined ? "" : ` of ${timestampMs(born)}`}`;
}
