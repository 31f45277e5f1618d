/**
 * default-payload — a service that names no payload carries IP.
 */
import { Payload, type ServiceRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";

export function defaultPayload(): Element<ServiceRegistryApi> {
  return {
    name: "default-payload",
    steps: {
      register: (service, _context, rest) => rest.register({ ...service, payload: service.payload || Payload.IP }),
    },
  };
}
