/**
 * What the packet core has (ports, and what joins them) against the ledger of the fast data plane. The keeper outlives forwarders, so
 * it may have what no forwarder knows of any more; whose a thing is, its name says: the digest of a connection's id (fast/shape.ts).
 *
 * A core within a forwarder's own process cannot be seen from outside, and ends with it. The interfaces that lead to the core are the
 * kernel auditor's.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { deleteNamedNetns, openNetns } from "../../sdk/linux/netns.js";
import { netnsFolder } from "../../sdk/linux/netns-url.js";
import { toStatusError } from "../../sdk/status.js";
import { patchRoomName } from "../dataplane/fast/patch-room.js";
import { coreName } from "../dataplane/fast/shape.js";
import type { CoreEntry, PacketCore } from "../native/core.js";
import { openKeeperCore } from "../native/keeper-client.js";
import type { Auditor, Noted, Seen } from "./audit.js";
import { type BookEntry, bookEntries } from "./book-entries.js";

/** @param stateDirs  of the forwarders whose ledgers count as ours */
export function fastAuditor(stateDirs: readonly string[]): Auditor {
  return {
    name: "fast",
    seen: async () => (await Promise.all(stateDirs.map(inCore))).flat(),
    noted: async () => stateDirs.flatMap((stateDir) => entriesOf(stateDir).flatMap((entry) => notesOf(stateDir, entry))),
  };
}

const entriesOf = (stateDir: string): BookEntry[] => bookEntries(join(stateDir, "fast"));
const socketOf = (stateDir: string): string => join(stateDir, "core.sock");
const keyOf = (stateDir: string, name: string): string => `core ${stateDir} ${name}`;

function notesOf(stateDir: string, { id, isSettled }: BookEntry): Noted[] {
  const name = coreName(id);
  const note = (key: string, kind: string, certain: boolean): Noted => {
    return { key: keyOf(stateDir, key), kind, name: `${key} in the packet core`, netns: "", owner: `connection ${id}`, certain };
  };
  const certain = isSettled && existsSync(socketOf(stateDir));
  return [note(name, "cross-connect", certain), ...["c", "e"].map((side) => note(`${name}.${side}`, "port", false))];
}

async function inCore(stateDir: string): Promise<Seen[]> {
  if (!existsSync(socketOf(stateDir))) return [];
  let core: PacketCore;
  try {
    core = await openCore(stateDir);
  } catch (error) {
    // Nobody keeps it: all that was in it is gone. What it met the kernel in may be left.
    return [...unreadable(stateDir, toStatusError(error).details), ...emptyRoom(stateDir)];
  }
  try {
    return seenEntries(stateDir, await core.list());
  } finally {
    await core.close();
  }
}

function openCore(stateDir: string): Promise<PacketCore> {
  return openKeeperCore({ socketPath: socketOf(stateDir), awaitMs: 0 });
}

/** A keeper of another version. */
function unreadable(stateDir: string, why: string): Seen[] {
  if (!why.includes("version")) return [];
  const common = { instance: "", kind: "process", name: "weft-fast keeper", netns: "", owner: `ledger ${stateDir}` };
  return [{ ...common, key: keyOf(stateDir, "keeper"), reclaim: undefined, detail: `cannot be looked into: ${why}` }];
}

/** What joins ports first: it has to go before they can. */
function seenEntries(stateDir: string, entries: readonly CoreEntry[]): Seen[] {
  const connects = entries.filter(({ kind }) => kind === "connect");
  const joined = new Set(connects.flatMap(({ portA, portB }) => [portA, portB]));
  const unsettled = new Set(entriesOf(stateDir).flatMap(({ id, isSettled }) => (isSettled ? [] : [coreName(id)])));
  const ports = entries.filter(({ kind }) => kind !== "connect");
  return [...connects, ...ports].map((entry) => {
    const [owner = "", side = ""] = entry.name.split(".");
    // A port of an earlier form of a cross-connect has its side's name, and nothing is joined to it.
    const current = entry.kind === "proxy" || joined.has(entry.slot) || unsettled.has(owner);
    const isWhole = entry.kind === "connect" || entry.kind === "proxy";
    return {
      key: keyOf(stateDir, isWhole ? owner : current ? `${owner}.${side}` : entry.name),
      instance: `${entry.kind} ${entry.slot}`,
      kind: entry.kind === "connect" ? "cross-connect" : "port",
      name: `${entry.name} in the packet core${entry.kind === "connect" ? "" : ` (${entry.kind})`}`,
      netns: "",
      owner: `ledger ${stateDir}`,
      reclaim: () => reclaim(stateDir, entry),
      detail: "its ledger says nothing of it",
    };
  });
}

async function reclaim(stateDir: string, entry: CoreEntry): Promise<void> {
  const core = await openCore(stateDir);
  try {
    const same = ({ kind, slot, name }: CoreEntry): boolean => kind === entry.kind && slot === entry.slot && name === entry.name;
    if (!(await core.list()).some(same)) return;
    await (entry.kind === "connect" ? core.removeConnect(entry.slot) : core.removePort(entry.slot));
  } finally {
    await core.close();
  }
}

/** The namespace of a core that is gone, when no connection needs it any more. */
function emptyRoom(stateDir: string): Seen[] {
  const room = patchRoomName(stateDir);
  if (!existsSync(`${netnsFolder}/${room}`) || entriesOf(stateDir).length > 0 || !isEmpty(room)) return [];
  return [
    {
      key: keyOf(stateDir, room),
      instance: "",
      kind: "namespace",
      name: room,
      netns: room,
      owner: `ledger ${stateDir}`,
      reclaim: () => {
        if (isEmpty(room)) deleteNamedNetns(room);
      },
      detail: "its packet core is gone, and nothing is in it",
    },
  ];
}

function isEmpty(room: string): boolean {
  const netns = openNetns(room);
  const socket = openNetlinkSocket(netns);
  try {
    return listLinks(socket).every(({ name }) => name === "lo");
  } finally {
    socket.close();
    netns.close();
  }
}
