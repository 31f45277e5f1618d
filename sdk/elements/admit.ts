/**
 * admit — lets requests on as the limits of their tenant allow; see policies/admission.ts.
 * Needs:  context.previous (from `serialize`)
 * Does:   counts the connections of each tenant; work of this process and Close are never held up
 * Fails:  RESOURCE_EXHAUSTED with a hint when to try again
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { nextSegment } from "../path.js";
import type { Admission } from "../policies/admission.js";
import type { HasConnection } from "./serialize.js";

export interface AdmitOptions {
  readonly admission: Admission;
  /** Whom a connection counts for. */
  readonly tenantOf: (connection: Connection) => string;
}

/** @param options  absent = everybody is let on (insecure mode) */
export function admit(options: AdmitOptions | undefined): Element<ConnectionApi, HasConnection> {
  if (options === undefined) return { name: "admit", steps: {} };
  const { admission, tenantOf } = options;
  const held = new Map<string, Set<string>>();
  const hold = (tenant: string, id: string): void => void held.set(tenant, (held.get(tenant) ?? new Set()).add(id));

  return {
    name: "admit",
    steps: {
      async request(request, { previous, peer, signal }, rest) {
        const connection = request.connection ?? Connection.fromPartial({});
        const tenant = tenantOf(connection);
        if (peer.kind === "self") return rest.request(request);
        // Unknown here but going on behind us: we were restarted, and this is a heal.
        const isKnown = previous !== undefined || nextSegment(connection) !== undefined;
        const own = held.get(tenant);
        const others = own?.has(connection.id) ? undefined : (own?.size ?? 0);
        const leave = await admission.enter({ tenant, isKnown, held: others, signal });
        try {
          const answer = await rest.request(request);
          hold(tenant, connection.id);
          return answer;
        } finally {
          leave();
        }
      },
      async close(connection, _context, rest) {
        const tenant = tenantOf(connection);
        const own = held.get(tenant);
        if (own?.delete(connection.id) && own.size === 0) held.delete(tenant);
        await rest.close(connection);
      },
    },
  };
}
