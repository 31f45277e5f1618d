/**
 * Reads a rules file (YAML) in either of two forms (pure).
 *
 * The map form is that of NSM's nse-firewall-vpp: name → { ispermit, srcprefix, dstprefix, proto,
 * srcportoricmptypefirst/last, dstportoricmpcodefirst/last, tcpflagsmask, tcpflagsvalue }; absent numbers are 0, so a range
 * that is left out is 0 … 0. Rules stand in the order of the file (upstream: in random order), and a rule without
 * prefixes is for IPv4 and IPv6 (upstream: IPv4).
 *
 * The list form is ours: - { name, action: permit|deny|reflect, proto: tcp|udp|icmp|icmpv6|NUMBER, from: CIDR, to: CIDR,
 * srcport: 80 or "80-90", dstport, icmptype, icmpcode }; what is absent is any.
 */
import { parseDocument } from "yaml";
import { Code, statusError } from "../../sdk/status.js";
import { listRule } from "./list-rule.js";
import { mapRule } from "./map-rule.js";
import { maxRules, type Rule, type RuleSet } from "./rules.js";

/**
 * @throws INVALID_ARGUMENT with every problem of the file, one a line
 */
export function parseRules(text: string): RuleSet {
  const { content, problems } = readYaml(text);
  const warnings: string[] = [];
  const rules: Rule[] = [];
  if (problems.length === 0) {
    for (const [index, entry] of entries(content, problems).entries()) {
      const read = entry.name === undefined ? listRule(entry.value, index) : mapRule(entry.name, entry.value);
      problems.push(...read.problems);
      warnings.push(...read.warnings);
      if (read.rule !== undefined) rules.push(read.rule);
    }
  }
  if (rules.length > maxRules) problems.push(`${rules.length} rules, more than ${maxRules}`);
  const names = new Set<string>();
  for (const { name } of rules) {
    if (names.has(name)) problems.push(`two rules are named ${JSON.stringify(name)}`);
    names.add(name);
  }
  if (problems.length > 0) throw statusError(Code.INVALID_ARGUMENT, problems.join("\n"));
  return { rules, warnings };
}

function readYaml(text: string): { content: unknown; problems: string[] } {
  try {
    const document = parseDocument(text, { uniqueKeys: true, logLevel: "error" });
    const problems = document.errors.map((error) => error.message.split("\n")[0] ?? "not YAML");
    // Maps stay maps: a plain object would sort keys that look like numbers, and the order of rules matters.
    return { content: problems.length > 0 ? undefined : document.toJS({ mapAsMap: true, maxAliasCount: maxAliases }), problems };
  } catch (error) {
    return { content: undefined, problems: [error instanceof Error ? error.message : String(error)] };
  }
}

/** A few anchors are handy; many nested ones are a bomb. */
const maxAliases = 100;

interface Entry {
  /** Undefined in the list form. */
  readonly name: string | undefined;
  readonly value: unknown;
}

function entries(content: unknown, problems: string[]): Entry[] {
  if (content === null || content === undefined) return [];
  if (Array.isArray(content)) return content.map((value: unknown) => ({ name: undefined, value }));
  if (content instanceof Map) return [...content].map(([name, value]) => ({ name: String(name), value }));
  problems.push("the file is neither a list of rules nor a map from names to rules");
  return [];
}
