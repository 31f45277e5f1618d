/**
 * authorize — asks the policies before anything is done.
 * Fails:  PERMISSION_DENIED, as the policies say
 */
import type { ConnectionApi } from "../api.js";
import type { CallContext, Element } from "../chain.js";
import { Connection } from "../gen/connection.js";

/** Throws to refuse. */
export type ConnectionPolicy = (method: "request" | "close", connection: Connection, context: CallContext) => Promise<void>;

/** @param policies  absent = whoever reaches the socket may (insecure mode) */
export function authorize(policies?: ConnectionPolicy | undefined): Element<ConnectionApi> {
  if (policies === undefined) return { name: "authorize", steps: {} };
  return {
    name: "authorize",
    steps: {
      async request(request, context, rest) {
        await policies("request", request.connection ?? Connection.fromPartial({}), context);
        return rest.request(request);
      },
      async close(connection, context, rest) {
        await policies("close", connection, context);
        return rest.close(connection);
      },
    },
  };
}
