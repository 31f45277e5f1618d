/**
 * Address groups as upstream writes them in NSM_CIDR_PREFIX: "10.0.0.0/24,[2001:db8::/64,2001:db9::/64]" (pure).
 * A connection gets addresses from every group; the pools of one group are alternatives, used in order.
 */

import type { Prefix } from "../../ip.js";
import { parsePrefix } from "../../ip.js";
import { Code, statusError } from "../../status.js";

/** A prefix alone is a group of one pool. */
export type CidrGroups = readonly (string | readonly string[])[];

/**
 * Splits "[a,b],[c],d" into groups.
 * @throws INVALID_ARGUMENT naming the position of a bracket that does not fit
 */
export function parseCidrGroups(text: string): CidrGroups {
  const groups: (string | string[])[] = [];
  let open: string[] | undefined;
  for (const { token, at } of tokens(text)) {
    if (token === "[") {
      if (open !== undefined) throw wrong(text, at, "a group inside a group");
      open = [];
    } else if (token === "]") {
      if (open === undefined) throw wrong(text, at, "a group that was not opened");
      if (open.length > 0) groups.push(open);
      open = undefined;
    } else if (token !== ",") {
      (open ?? groups).push(token);
    }
  }
  if (open !== undefined) throw wrong(text, text.length, "a group that is not closed");
  return groups;
}

/**
 * Checks every prefix of every group.
 * @throws INVALID_ARGUMENT listing all that are malformed, or saying that there is none at all
 */
export function prefixGroups(groups: CidrGroups): Prefix[][] {
  const wrongOnes: string[] = [];
  const parsed = groups.map((group) =>
    (typeof group === "string" ? [group] : group).flatMap((text) => {
      const prefix = parsePrefix(text);
      if (prefix === undefined) wrongOnes.push(JSON.stringify(text));
      return prefix ?? [];
    }),
  );
  if (wrongOnes.length > 0) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `not a CIDR: ${wrongOnes.join(", ")}; write address/length, for example 10.0.0.0/24 or 2001:db8::/64`,
    );
  }
  return parsed.filter((group) => group.length > 0);
}

function* tokens(text: string): Iterable<{ token: string; at: number }> {
  for (const match of text.matchAll(/[[\],]|[^[\],]+/g)) {
    const token = match[0].trim();
    if (token !== "") yield { token, at: match.index };
  }
}

function wrong(text: string, at: number, what: string): Error {
  return statusError(Code.INVALID_ARGUMENT, `address groups ${JSON.stringify(text)}: ${what} at character ${at + 1}`);
}
