/** Find for callers who may: it carries no path, so the caller's own token and ours are all the path there is. */
import type { CallContext } from "../chain.js";
import type { RegistryPolicy } from "../policies/registry.js";
import type { Find } from "../transport/services.js";
import { type PathOptions, presentedToken } from "./enter-path.js";

/** @param policy  absent = whoever reaches the socket may (insecure mode) */
export function guardFind<T extends { readonly name: string }>(
  find: Find<T>,
  policy: RegistryPolicy | undefined,
  mintToken: PathOptions["mintToken"],
): Find<T> {
  if (policy === undefined) return find;
  const demand = async (name: string, context: CallContext): Promise<void> => {
    const own = await mintToken?.(context);
    const tokens = [presentedToken(context)?.token ?? "", own?.token ?? ""];
    policy({ method: "find", name, tokens, index: 1, currentPathIds: undefined }, context);
  };
  return async function* guarded(query, options) {
    await demand(query.name, options.context);
    yield* find(query, options);
  };
}
