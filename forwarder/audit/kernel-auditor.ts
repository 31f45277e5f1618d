/**
 * The kernel's objects of our ledgers: interfaces, policy rules, wireguard-go processes and their sockets, and what lies on
 * interfaces of living connections (kernel-strays.ts).
 *
 * What proves whose a thing is: an interface's group and a process's environment bear the mark of a ledger (mark.ts); a rule has
 * Weft's protocol number and a table that is empty; a socket has a name of ours and nobody listens on it. Addresses, routes and
 * VNIs live and end with their interface.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openAllNetns, type SeenNetns } from "../../sdk/linux/all-netns.js";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { deleteLink, getLink, type Link, listLinks } from "../../sdk/linux/netlink/links.js";
import { isTableEmpty, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { deleteRule, listRules, type Rule } from "../../sdk/linux/netlink/rules.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { endWireguardGo, isDeviceName, isServed, uapiSocketPath } from "../../sdk/linux/wireguard-go.js";
import { isMark, markVariable, readMark } from "../dataplane/kernel/mark.js";
import { withPlaces } from "../dataplane/kernel/places.js";
import type { Auditor, Noted, Seen } from "./audit.js";
import { seenOn, seenRule } from "./kernel-strays.js";
import { linkKey, ruleKey } from "./keys.js";
import { notedOf } from "./ledger-notes.js";

/** @param stateDirs  of the forwarders whose ledgers count as ours */
export function kernelAuditor(stateDirs: readonly string[]): Auditor {
  const marks = new Map<number, string>();
  for (const stateDir of stateDirs) {
    const mark = readMark(stateDir);
    if (mark !== undefined) marks.set(mark, stateDir);
  }
  return {
    name: "kernel",
    async seen() {
      const owners = new Map(stateDirs.flatMap(notedOf).map(({ key, owner }) => [key, owner]));
      const places = openAllNetns();
      try {
        return [...places.flatMap((place) => inNamespace(place, marks, owners)), ...processes(marks), ...sockets()];
      } finally {
        for (const { netns } of places) netns.close();
      }
    },
    noted: async () => stateDirs.flatMap((stateDir): Noted[] => notedOf(stateDir)),
  };
}

type Marks = ReadonlyMap<number, string>;
/** Whose what a ledger knows is, by its key. */
type Owners = ReadonlyMap<string, string>;

function inNamespace(place: SeenNetns, marks: Marks, owners: Owners): Seen[] {
  const socket = openNetlinkSocket(place.netns);
  try {
    const links = listLinks(socket);
    const strangers = links.some(({ group }) => isMark(group) && !marks.has(group));
    return [
      ...links.filter(({ kind }) => ourKinds.has(kind)).map((link) => seenLink(place, link, marks)),
      ...links.filter(({ group }) => marks.has(group)).flatMap((link) => strays(place, socket, link, owners)),
      ...rules(place, socket, strangers, owners),
    ];
  } finally {
    socket.close();
  }
}

/** What a forwarder makes. */
const ourKinds: ReadonlySet<string> = new Set(["veth", "vxlan", "tun", "wireguard"]);

function seenLink({ url, netns }: SeenNetns, link: Link, marks: Marks): Seen {
  const { dev, ino } = netns;
  const ledger = marks.get(link.group);
  const vni = link.vxlan === undefined ? "" : ` (VNI ${link.vxlan.vni}, UDP port ${link.vxlan.udpPort})`;
  const key = isDeviceName(link.name) ? `device ${link.name}` : linkKey(dev, ino, link);
  const reclaim = async (): Promise<void> =>
    withPlaces(undefined, (places) => {
      const { socket } = places.open(url);
      const now = getLink(socket, link.index);
      if (now === undefined) return;
      if (now.macAddress !== link.macAddress || now.group !== link.group) throw new Error("another interface has its number now");
      socket.perform([deleteLink(link.index)]);
    });
  return {
    key,
    instance: String(link.index),
    kind: "link",
    name: `${link.name}${vni}`,
    netns: url,
    owner: ownerOf(link.alias, ledger ?? markName(link.group)),
    reclaim: ledger === undefined ? undefined : reclaim,
    detail: ledger === undefined ? "of a ledger that is not here" : "its ledger says nothing of it",
    silent: !isMark(link.group),
  };
}

/** On the interfaces of living connections only: what lies on others goes with them. */
function strays({ url: netnsUrl, netns }: SeenNetns, socket: NetlinkSocket, link: Link, owners: Owners): Seen[] {
  const owner = owners.get(linkKey(netns.dev, netns.ino, link));
  return owner === undefined ? [] : seenOn({ netnsUrl, netns, socket, link, owner });
}

/** A rule whose table is empty leads nowhere. Another ledger's may be about to be filled: not where others have interfaces. */
function rules({ url, netns }: SeenNetns, socket: NetlinkSocket, strangers: boolean, owners: Owners): Seen[] {
  const there = [AF_INET, AF_INET6].flatMap((family) => listRules(socket, family as Rule["family"]));
  return there
    .filter((rule) => rule.protocol === weftProtocol)
    .flatMap((rule): Seen[] => {
      const owner = owners.get(ruleKey(netns.dev, netns.ino, rule));
      const exact = owner === undefined ? [] : [seenRule({ netnsUrl: url, netns }, rule, owner)];
      const empty = isTableEmpty(socket, rule.family, rule.table);
      const reclaim = async (): Promise<void> =>
        withPlaces(undefined, (places) => void places.open(url).socket.perform([deleteRule(rule)]));
      const byTable: Seen = {
        key: ruleKey(netns.dev, netns.ino, rule),
        instance: "",
        kind: "rule",
        name: `${rule.priority}: lookup ${rule.table}`,
        netns: url,
        owner: "",
        reclaim: empty && !strangers ? reclaim : undefined,
        detail: empty ? "its table is empty" : "its table is in use",
      };
      return [byTable, ...exact];
    });
}

function processes(marks: Marks): Seen[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry): Seen[] => {
      const [program = "", flag, device] = readOr(`/proc/${entry}/cmdline`).split("\0");
      if (!program.endsWith("wireguard-go") || flag !== "-f" || !isDeviceName(device)) return [];
      const mark = Number(variable(entry, markVariable) ?? Number.NaN);
      const ledger = marks.get(mark);
      return [
        {
          key: `process ${device}`,
          instance: entry,
          kind: "process",
          name: `wireguard-go -f ${device} (process ${entry})`,
          netns: "",
          owner: ownerOf("", ledger ?? markName(mark)),
          reclaim: ledger === undefined ? undefined : () => endWireguardGo(device),
          detail: ledger === undefined ? "of a ledger that is not here" : "its ledger says nothing of it",
        },
      ];
    });
}

/** Files that processes have left; one that is served belongs to its process. */
function sockets(): Seen[] {
  const folder = join(uapiSocketPath("x"), "..");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((file): Seen[] => {
    const device = file.replace(/\.sock$/, "");
    if (!isDeviceName(device) || isServed(device)) return [];
    return [
      {
        key: `socket ${device}`,
        instance: "",
        kind: "socket",
        name: join(folder, file),
        netns: "",
        owner: "",
        reclaim: () => endWireguardGo(device),
        detail: "nobody listens on it",
      },
    ];
  });
}

function variable(pid: string, name: string): string | undefined {
  const line = readOr(`/proc/${pid}/environ`)
    .split("\0")
    .find((each) => each.startsWith(`${name}=`));
  return line?.slice(name.length + 1);
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function markName(mark: number): string {
  return isMark(mark) ? `mark 0x${mark.toString(16)}` : "no mark";
}

function ownerOf(alias: string, ledger: string): string {
  return alias === "" ? `ledger ${ledger}` : `${alias}, ledger ${ledger}`;
}
