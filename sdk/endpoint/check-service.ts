/**
 * check-service — answers only for the services this endpoint offers.
 * Does:   fills in the payload when nobody on the way has
 * Fails:  FAILED_PRECONDITION for another service: the caller chose from an old registry entry and is to choose again
 */
import type { ConnectionApi, Payload } from "../api.js";
import type { Element } from "../chain.js";
import { Code, statusError } from "../status.js";

export function checkService(endpoint: string, services: readonly string[], payload: Payload): Element<ConnectionApi> {
  const known = new Set(services.map(target));
  return {
    name: "check-service",
    steps: {
      async request(request, _context, rest) {
        const { connection } = request;
        const service = connection?.network_service ?? "";
        if (connection === undefined || !known.has(target(service))) {
          throw statusError(
            Code.FAILED_PRECONDITION,
            `endpoint ${endpoint} serves ${services.join(", ")}, not ${JSON.stringify(service)}: choose another endpoint`,
          );
        }
        return rest.request({ ...request, connection: { ...connection, payload: connection.payload || payload } });
      },
    },
  };
}

/** "svc@domain" and "svc" are one service here: proxies between domains add and strip the domain. */
function target(service: string): string {
  const at = service.indexOf("@");
  return at < 0 ? service : service.slice(0, at);
}
