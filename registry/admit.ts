/**
 * admit — lets Register on as the limits of its tenant allow; see sdk/policies/admission.ts.
 * Needs:  caller (enter-path), current (look-up)
 * Does:   a tenant is the first identity of a path; its entries are counted in the table
 * Fails:  RESOURCE_EXHAUSTED with a hint when to try again
 */
import type { RegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Admission } from "../sdk/policies/admission.js";
import type { HasCaller } from "../sdk/registry/enter-path.js";
import type { Entry } from "./kind.js";
import type { HasCurrent } from "./look-up.js";
import type { Table } from "./store/store.js";

/** @param admission  absent = everybody is let on (insecure mode) */
export function admit<T extends Entry>(
  admission: Admission | undefined,
  table: Pick<Table<T>, "places" | "subscribe">,
): Element<RegistryApi<T>, HasCaller & HasCurrent<T>> {
  if (admission === undefined) return { name: "admit", steps: {} };
  const held = new Map<string, number>();
  const count = (entry: T | undefined, by: 1 | -1): void => {
    const owner = entry?.path_ids[0] ?? "";
    if (owner === "") return;
    const now = (held.get(owner) ?? 0) + by;
    if (now > 0) held.set(owner, now);
    else held.delete(owner);
  };
  for (const { entry } of table.places()) count(entry, 1);
  table.subscribe(({ previous, next }) => {
    count(previous, -1);
    count(next, 1);
  });
  return {
    name: "admit",
    steps: {
      async register(entry, { caller, current, signal, peer }, rest) {
        if (peer.kind === "self") return rest.register(entry);
        const tenant = caller.identity;
        const isKnown = current !== undefined;
        const leave = await admission.enter({ tenant, isKnown, held: isKnown ? undefined : (held.get(tenant) ?? 0), signal });
        try {
          return await rest.register(entry);
        } finally {
          leave();
        }
      },
    },
  };
}
