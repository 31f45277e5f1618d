/** One rule of the map form (keys of NSM's nse-firewall-vpp); pure. */
import { familyOf, fields, type RuleRead } from "./read-fields.js";
import { hasPorts, isIcmp, type Numbers, protocolNumber, type Verdict } from "./rules.js";

const verdicts: readonly Verdict[] = ["deny", "permit", "reflect"];
const lastPort = 65535;
const lastIcmp = 255;

export function mapRule(name: string, value: unknown): RuleRead {
  const read = fields(`rule ${JSON.stringify(name)}`, value);
  const verdict = verdicts[read.number("ispermit", 2) ?? 0] ?? "deny";
  const source = read.prefix("srcprefix");
  const destination = read.prefix("dstprefix");
  const protocol = read.number("proto", 255) || undefined;
  const range = (key: string): Numbers => {
    const first = read.number(`${key}first`, 65535) ?? 0;
    const last = read.number(`${key}last`, 65535) ?? 0;
    if (first > last) read.refuse(`${key}first is ${first}, more than ${key}last, which is ${last}`);
    return { first, last };
  };
  const from = range("srcportoricmptype");
  const to = range("dstportoricmpcode");
  const mask = read.number("tcpflagsmask", 255) ?? 0;
  const value8 = read.number("tcpflagsvalue", 255) ?? 0;
  const family = familyOf(read, source, destination, protocol);
  read.finish();

  const limit = ({ first, last }: Numbers, most: number): Numbers | undefined =>
    first === 0 && last >= most ? undefined : { first, last: Math.min(last, most) };
  const ports = hasPorts(protocol);
  const icmp = isIcmp(protocol);
  if (icmp && Math.max(from.first, to.first) > lastIcmp) read.refuse(`has an ICMP type or code above ${lastIcmp}`);
  if (ports) {
    for (const [key, { last }] of [
      ["srcportoricmptypelast", from],
      ["dstportoricmpcodelast", to],
    ] as const) {
      if (last === 0) read.warn(`matches port 0 only, because ${key} is 0 or absent; write ${key}: 65535 for any port`);
    }
  }
  const rule = {
    name,
    verdict,
    family,
    source,
    destination,
    protocol,
    sourcePorts: ports ? limit(from, lastPort) : undefined,
    destinationPorts: ports ? limit(to, lastPort) : undefined,
    icmpTypes: icmp ? limit(from, lastIcmp) : undefined,
    icmpCodes: icmp ? limit(to, lastIcmp) : undefined,
    tcpFlags: protocol === protocolNumber.tcp && mask !== 0 ? { mask, value: value8 } : undefined,
  };
  return { rule: read.problems.length === 0 ? rule : undefined, problems: read.problems, warnings: read.warnings };
}
