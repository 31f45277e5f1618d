/** What each forwarder can do on its node, and why not more: asked of the forwarder itself. */
import type { Fact } from "../../sdk/gen/inspect.js";
import { toStatusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { factsOf } from "./inspect.js";
import type { Item, Listing } from "./listings.js";
import type { Source } from "./sources.js";

/** @param urlOf  where a forwarder of that name is reached; undefined: nobody knows */
export async function withAbilities(
  listing: Listing,
  { dialer, signal }: { readonly dialer: Dialer; readonly signal: AbortSignal },
  urlOf: (item: Item) => string | undefined,
): Promise<Listing> {
  const asked = await Promise.all(
    listing.items.map(async (item) => {
      const [name = "", url] = [item.names[0], urlOf(item)];
      if (url === undefined || url === "") return { item, problem: `${name}: its address is not known` };
      const source: Source = { kind: "forwarder", name, node: "", url };
      return await factsOf(dialer, source, "capabilities", signal).then(
        (facts) => ({ item, facts }),
        (error: unknown) => ({ item, problem: `${name} does not say what it can do: ${toStatusError(error).details}` }),
      );
    }),
  );
  const headers = [...listing.headers, { title: "CAN" }, { title: "WHY NOT MORE", wide: true }];
  const items = asked.map(({ item, facts }: { readonly item: Item; readonly facts?: readonly Fact[] }): Item => {
    const { can, missing, by } = abilities(facts ?? []);
    const cells = facts === undefined ? ["?", "?"] : [`${can} (${by})`, missing.join("; ") || "nothing is missing"];
    const data = { ...(item.data as object), abilities: facts?.map(({ name, value, detail }) => ({ name, value, detail })) };
    return { ...item, cells: [...item.cells, ...cells], data };
  });
  const problems = asked.flatMap((each) => ("problem" in each ? [each.problem] : []));
  return { headers, items, problems: [...listing.problems, ...problems] };
}

/** The last fact names the mechanisms and the data plane; the others say what is missing for what. */
export function abilities(facts: readonly Pick<Fact, "name" | "value" | "detail">[]) {
  const built = facts.find(({ name }) => name === "mechanisms");
  return {
    can: built?.value || "nothing",
    by: /"([^"]*)"/.exec(built?.detail ?? "")?.[1] ?? "?",
    missing: facts.filter(({ value }) => value === "no").map(({ name, detail }) => `${name}: ${detail}`),
  };
}
