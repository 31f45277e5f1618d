/** What the ledger of a forwarder says is there, read without touching it: the forwarder may be at work. */
import { join } from "node:path";
import { decode } from "../dataplane/kernel/book.js";
import type { Built, BuiltLink } from "../dataplane/kernel/built.js";
import { planOf } from "../dataplane/kernel/plan.js";
import { peekLedger } from "../dataplane/ledger.js";
import type { Noted } from "./audit.js";
import { notedOn } from "./kernel-strays.js";
import { linkKey, ruleKey } from "./keys.js";

export function notedOf(stateDir: string): Noted[] {
  const noted: Noted[] = [];
  for (const { committed, begun } of peekLedger(join(stateDir, "cross-connects"))) {
    // While something is being changed either form of it may be there.
    noted.push(...notesOf(decode(committed), begun === undefined), ...notesOf(decode(begun), false));
  }
  return noted;
}

function notesOf(built: Built | undefined, certain: boolean): Noted[] {
  if (built === undefined) return [];
  const owner = `connection ${built.crossConnect.id}`;
  const withRole = new Set(planOf(built.crossConnect).links.map(({ role }) => role));
  return [
    ...built.links.filter(({ role }) => withRole.has(role)).flatMap((link) => notesOfLink(link, owner, certain)),
    ...built.leftovers.flatMap((link) => notesOfLink(link, owner, false)),
    ...notedOn(built, owner),
  ];
}

function notesOfLink(link: BuiltLink, owner: string, certain: boolean): Noted[] {
  const { dev, ino, name, netnsUrl: netns, tun, tables } = link;
  const note = (key: string, kind: string, what: string, there: boolean): Noted => ({
    key,
    kind,
    name: what,
    netns,
    owner,
    certain: there,
  });
  const notes = [note(linkKey(dev, ino, { macAddress: link.macAddress, alias: tun?.alias ?? "", name }), "link", name, certain)];
  for (const each of [tun, link.beside]) {
    if (each === undefined) continue;
    const isProcess = each.backend !== "kernel";
    notes.push(note(`process ${each.device}`, "process", `wireguard-go -f ${each.device}`, certain && isProcess && each === tun));
    notes.push(
      note(`socket ${each.device}`, "socket", each.device, false),
      note(`device ${each.device}`, "link", each.device, false),
    );
  }
  for (const { family, table } of tables)
    notes.push(note(ruleKey(dev, ino, { family, table }), "rule", `lookup ${table}`, certain));
  return notes;
}
