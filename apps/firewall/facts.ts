/** Counters as facts for operators (pure). */
import type { Fact } from "../../sdk/gen/inspect.js";
import { type Direction, type DropReason, directions, dropReasons, reasonCounter, ruleCounter } from "./nft-script.js";
import type { Count } from "./read-ruleset.js";
import type { Rule } from "./rules.js";

const ways: Readonly<Record<Direction, string>> = { request: "from the client", reply: "from the network" };
const reasons: Readonly<Record<DropReason, string>> = {
  noRule: "no rule permits it",
  fragment: "a later fragment, which has no ports to look at",
  notIp: "neither IP nor ARP",
};

/** Packets by rule and by reason of a drop, in both directions. Without rules everything passes and nothing is counted. */
export function facts(connectionId: string, rules: readonly Rule[], counts: ReadonlyMap<string, Count> | undefined): Fact[] {
  if (rules.length === 0) return [];
  const of = (name: string): Count => counts?.get(name) ?? { packets: 0, bytes: 0 };
  const fact = (name: string, verb: string, direction: Direction, { packets, bytes }: Count): Fact => ({
    section: "counters",
    name,
    value: String(packets),
    detail: `${verb}, ${ways[direction]}, ${bytes} bytes`,
    connection_id: connectionId,
  });
  return directions.flatMap((direction) => [
    ...rules.map((rule) => {
      const verb = rule.verdict === "deny" ? "dropped" : "passed";
      return fact(`rule ${JSON.stringify(rule.name)}`, verb, direction, of(ruleCounter(direction, rule)));
    }),
    ...dropReasons.map((reason) => fact(`drop: ${reasons[reason]}`, "dropped", direction, of(reasonCounter(direction, reason)))),
  ]);
}
