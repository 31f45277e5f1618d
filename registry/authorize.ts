/**
 * authorize — asks the policies before anything is changed.
 * Needs:  caller (enter-path), current (look-up)
 * Fails:  PERMISSION_DENIED, as the policies say
 */
import type { RegistryApi } from "../sdk/api.js";
import type { CallContext, Element } from "../sdk/chain.js";
import type { RegistryPolicy } from "../sdk/policies/registry.js";
import type { HasCaller } from "../sdk/registry/enter-path.js";
import type { Entry } from "./kind.js";
import type { HasCurrent } from "./look-up.js";
import { saysNothingNew } from "./own-name.js";

/** @param policy  absent = whoever reaches the socket may (insecure mode) */
export function authorize<T extends Entry>(
  policy: RegistryPolicy | undefined,
): Element<RegistryApi<T>, HasCaller & HasCurrent<T>> {
  if (policy === undefined) return { name: "authorize", steps: {} };
  function demand(method: "register" | "unregister", entry: T, context: CallContext & HasCaller & HasCurrent<T>): void {
    const { caller, current } = context;
    const isRepeated = method === "register" && current !== undefined && saysNothingNew(entry, current);
    const hasOwner = current !== undefined && !isRepeated && (current.path_ids[0] ?? "") !== "";
    const currentPathIds = hasOwner ? current.path_ids : undefined;
    policy?.({ method, name: entry.name, ...caller.path, currentPathIds }, context);
  }
  return {
    name: "authorize",
    steps: {
      async register(entry, context, rest) {
        demand("register", entry, context);
        return rest.register(entry);
      },
      async unregister(entry, context, rest) {
        demand("unregister", entry, context);
        await rest.unregister(entry);
      },
    },
  };
}
