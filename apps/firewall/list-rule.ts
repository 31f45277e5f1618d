/** One rule of the list form; pure. */
import { type Fields, familyOf, fields, type RuleRead } from "./read-fields.js";
import { hasPorts, isIcmp, protocolNumber, type Verdict } from "./rules.js";

const verdicts: readonly Verdict[] = ["permit", "deny", "reflect"];

export function listRule(value: unknown, index: number): RuleRead {
  const given = value instanceof Map ? value.get("name") : undefined;
  const name = typeof given === "string" && given !== "" ? given : `rule ${index + 1}`;
  const read = fields(given === name ? `rule ${JSON.stringify(name)}` : name, value);
  read.text("name");
  const action = read.text("action");
  const verdict = verdicts.find((known) => known === action);
  if (verdict === undefined) read.refuse(`action is ${JSON.stringify(action)}; write ${verdicts.join(", ")}`);
  const protocol = protocolOf(read);
  const source = read.prefix("from");
  const destination = read.prefix("to");
  const sourcePorts = read.numbers("srcport", 65535);
  const destinationPorts = read.numbers("dstport", 65535);
  const icmpTypes = read.numbers("icmptype", 255);
  const icmpCodes = read.numbers("icmpcode", 255);
  const family = familyOf(read, source, destination, protocol);
  if ((sourcePorts ?? destinationPorts) !== undefined && !hasPorts(protocol)) {
    read.refuse("has ports, which need proto tcp, udp, sctp, dccp or udplite");
  }
  if ((icmpTypes ?? icmpCodes) !== undefined && !isIcmp(protocol)) {
    read.refuse("has an ICMP type or code, which need proto icmp or icmpv6");
  }
  read.finish();
  const rule = {
    name,
    verdict: verdict ?? "deny",
    family,
    source,
    destination,
    protocol,
    sourcePorts,
    destinationPorts,
    icmpTypes,
    icmpCodes,
    tcpFlags: undefined,
  };
  return { rule: read.problems.length === 0 ? rule : undefined, problems: read.problems, warnings: read.warnings };
}

function protocolOf(read: Fields): number | undefined {
  const text = read.text("proto");
  if (text === undefined || text === "any") return undefined;
  const named = Object.entries(protocolNumber).find(([name]) => name === text.toLowerCase());
  if (named !== undefined) return named[1];
  const number = /^\d{1,3}$/.test(text) ? Number(text) : 256;
  if (number > 255)
    read.refuse(`proto is ${JSON.stringify(text)}; write any, ${Object.keys(protocolNumber).join(", ")} or 0 … 255`);
  return number === 0 ? undefined : number;
}
