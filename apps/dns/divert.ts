/**
 * The rules by which a pod's queries come to us: nftables in the pod's own namespace, without connection tracking. What the
 * pod sends to port 53 of one of its name servers gets our address and port instead, what we answer gets those of the name
 * server; no file of the pod is touched. They hold while the element `alive` is there, which lives by our heartbeats
 * (lifeline.ts), and never for our own questions, which bear a mark.
 */
import { isIPv6 } from "node:net";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { spawnInNetns } from "../../sdk/linux/netns.js";
import { createNft } from "../nft.js";
import { type Listener, loopback4 } from "./listen.js";

/** Found by `nft list tables` in a pod's namespace; nothing else of ours has this name. */
export const dnsTable = "inet weft-dns";
/** Who has a socket of this name in a namespace has its table, from before it is made until after it has gone. */
export const dnsClaim = "weft-dns";
/** "wdns" in the upper half, so that masks of others in the lower bits do not matter. */
export const ownMark = 0x77640000;
/** How long a process that hangs keeps the rules in force. Seconds. */
const lapseSeconds = 3;

/** Of one pod to one name server over UDP. A third of a processor's second. */
export const queriesPerSecond = 1_000;

/** A connection cannot be handed to somebody else once it is begun. */
const tooManyConnections = "tcp flags & (syn|ack) == syn limit rate over 100/second burst 100 packets";

/** Removes the table, whether it is there or not; one transaction. */
const remove = `add table ${dnsTable}\ndelete table ${dnsTable}\n`;

/** The script, for one transaction (pure): what was there is replaced. */
export function divertScript(lifelinePort: number, listeners: readonly Listener[]): string {
  const rule = (text: string): string => `add rule ${dnsTable} output ${text}`;
  // a key that is always the same: the set is a switch
  const key = "meta mark & 0x0";
  const lifeline = `ip saddr ${loopback4} tcp sport ${lifelinePort}`;
  return [
    remove.trimEnd(),
    `add table ${dnsTable}`,
    `add set ${dnsTable} alive { type mark; flags dynamic,timeout; timeout ${lapseSeconds}s; size 4; }`,
    // before connection tracking (-200), so that nobody's sees half of a conversation
    `add chain ${dnsTable} output { type route hook output priority -300; policy accept; }`,
    rule(`${lifeline} tcp flags fin,rst delete @alive { ${key} } accept`),
    rule(`${lifeline} tcp flags psh update @alive { ${key} timeout ${lapseSeconds}s } accept`),
    rule(`meta mark ${ownMark} accept`),
    ...listeners.flatMap(({ server, address, udpPort, tcpPort }) => {
      const ip = isIPv6(server) ? "ip6" : "ip";
      return (
        [
          // what is over goes to the pod's own server: one pod must not take the time of all others of its node
          ["udp", udpPort, ` limit rate ${queriesPerSecond}/second burst ${queriesPerSecond} packets`],
          ["tcp", tcpPort, ""],
        ] as const
      ).flatMap(([protocol, port, limit]) => [
        ...(protocol === "tcp" ? [rule(`${ip} daddr ${server} tcp dport 53 ${key} @alive ${tooManyConnections} drop`)] : []),
        rule(
          `${ip} daddr ${server} ${protocol} dport 53 ${key} @alive${limit} ${ip} daddr set ${address} ${protocol} dport set ${port} notrack accept`,
        ),
        rule(
          `${ip} saddr ${address} ${protocol} sport ${port} ${ip} saddr set ${server} ${protocol} sport set 53 notrack accept`,
        ),
      ]);
    }),
    "",
  ].join("\n");
}

export interface Diversion {
  apply(lifelinePort: number, listeners: readonly Listener[]): Promise<void>;
  /** Fine where there is none. */
  remove(): Promise<void>;
  /** Whether there is a table; false where it cannot be told. */
  isThere(): Promise<boolean>;
}

/** @throws (its functions) FAILED_PRECONDITION without nft, CAP_NET_ADMIN or the kernel's support, with the remedy */
export function diversionIn(netns: Pick<NetnsHandle, "fd" | "ino">): Diversion {
  const nft = createNft((command, args, options) => spawnInNetns(netns, command, args, options), { asArgument: true });
  return {
    apply: async (lifelinePort, listeners) => void (await nft(divertScript(lifelinePort, listeners))),
    remove: async () => void (await nft(remove)),
    isThere: () =>
      nft("list tables").then(
        (tables) => tables.includes(`table ${dnsTable}`),
        () => false,
      ),
  };
}
