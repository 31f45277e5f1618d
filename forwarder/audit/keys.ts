/** What objects of the kernel are compared by. */
import type { Link } from "../../sdk/linux/netlink/links.js";
import type { Rule } from "../../sdk/linux/netlink/rules.js";

/** By hardware address, which stays when somebody renames it; a TUN interface has none. */
export function linkKey(dev: bigint | string, ino: bigint | string, link: Pick<Link, "macAddress" | "alias" | "name">): string {
  return `link ${dev}/${ino} ${link.macAddress || link.alias || link.name}`;
}

export function ruleKey(dev: bigint | string, ino: bigint | string, { family, table }: Pick<Rule, "family" | "table">): string {
  return `rule ${dev}/${ino} ${family} ${table}`;
}
