/**
 * The ledger in the kernel data plane's words: `Built` to JSON and back.
 */

import { isDeviceName } from "../../../sdk/linux/wireguard-go.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { CrossConnect, Port } from "../dataplane.js";
import { type Ledger, openLedger } from "../ledger.js";
import { type Built, type BuiltLink, counterNames } from "./built.js";
import { planOf } from "./plan.js";

/** What the book says of one cross-connect. */
export interface BookEntry {
  readonly committed: Built | undefined;
  /** Was being made when the process ended. */
  readonly begun: Built | undefined;
}

export interface Book extends Omit<Ledger, "load" | "begin" | "update"> {
  load(): { readonly entries: ReadonlyMap<string, BookEntry>; readonly unreadable: readonly string[] };
  begin(built: Built): void;
  update(built: Built): void;
  /**
   * Like `update`, within a second: for a refresh, of which the next one tells the same again. Never fails; a full disk must
   * not end a living connection, which then is in the book as it was.
   */
  updateSoon(built: Built): void;
  /** Writes what waits. */
  close(): void;
}

const writeDelayMs = 1_000;
/** Between two turns of the event loop. */
const writesPerTurn = 16;

/** Raised when the form of an entry changes; entries of another version are put aside. */
const version = 1;

export function openBook(folder: string, log: Log): Book {
  const ledger = openLedger(folder);
  const waiting = new Map<string, Built>();
  let timer: NodeJS.Timeout | undefined;
  const write = (id: string, built: Built): void => {
    waiting.delete(id);
    try {
      ledger.update(id, encode(built));
    } catch (error) {
      log.warn("could not note a refresh in the ledger", { connectionId: id, error });
    }
  };
  const writeSome = (): void => {
    let count = 0;
    for (const [id, built] of waiting) {
      if (count++ === writesPerTurn) break;
      write(id, built);
    }
    timer = waiting.size === 0 ? undefined : setTimeout(writeSome, count > writesPerTurn ? 0 : writeDelayMs);
  };
  return {
    ...ledger,
    begin: (built) => ledger.begin(built.crossConnect.id, encode(built)),
    commit(id) {
      ledger.commit(id);
      waiting.delete(id);
    },
    update(built) {
      waiting.delete(built.crossConnect.id);
      ledger.update(built.crossConnect.id, encode(built));
    },
    updateSoon(built) {
      waiting.set(built.crossConnect.id, built);
      timer ??= setTimeout(writeSome, writeDelayMs);
    },
    retire(id) {
      // What waits tells of a later expiry only; its objects are those in the book.
      waiting.delete(id);
      ledger.retire(id);
    },
    close() {
      clearTimeout(timer);
      for (const [id, built] of waiting) write(id, built);
    },
    load() {
      const { entries, unreadable } = ledger.load();
      const read = new Map<string, BookEntry>();
      const odd: string[] = [];
      for (const [id, { committed, begun }] of entries) {
        const entry = { committed: decode(committed), begun: decode(begun) };
        if (entry.committed !== undefined || entry.begun !== undefined) read.set(id, entry);
        else odd.push(`entry of cross-connect ${id}`);
      }
      return { entries: read, unreadable: [...unreadable, ...odd] };
    },
  };
}

function encode({ crossConnect, links, leftovers }: Built): unknown {
  const { record, ...rest } = crossConnect;
  return { version, crossConnect: { ...rest, record: Buffer.from(record).toString("base64") }, links, leftovers };
}

/** Undefined: not of our making. The plan is made from it once, so whatever it holds is well formed. */
export function decode(value: unknown): Built | undefined {
  if (!isObject(value) || value["version"] !== version || !isObject(value["crossConnect"])) return undefined;
  const stored = value["crossConnect"];
  if (typeof stored["record"] !== "string" || !isPort(stored["client"]) || !isPort(stored["endpoint"])) return undefined;
  const record = new Uint8Array(Buffer.from(stored["record"], "base64"));
  const links = decodeLinks(value["links"]);
  const leftovers = decodeLinks(value["leftovers"]);
  if (links === undefined || leftovers === undefined) return undefined;
  // by way of unknown: what else it must hold shows when the plan is made from it, below
  const built = { crossConnect: { ...stored, record } as unknown as CrossConnect, links, leftovers };
  try {
    const plan = planOf(built.crossConnect);
    return plan.links.every(({ role }) => links.some((link) => link.role === role)) ? built : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isPort(value: unknown): value is Port {
  return isObject(value) && typeof value["kind"] === "string";
}

/** The device name becomes a path and tells which process is ended: it must be one of ours. */
function isTun(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isObject(value) || !isDeviceName(value["device"]) || typeof value["alias"] !== "string") return false;
  return value["backend"] === undefined || value["backend"] === "kernel";
}

function isCarried(value: unknown): boolean {
  return value === undefined || (isObject(value) && counterNames.every((name) => /^\d{1,20}$/.test(String(value[name]))));
}

function decodeLinks(value: unknown): BuiltLink[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const wellFormed = value.every(
    (link) =>
      isObject(link) &&
      (link["role"] === "client" || link["role"] === "endpoint") &&
      ["netnsUrl", "dev", "ino", "name", "macAddress"].every((key) => typeof link[key] === "string") &&
      (link["pingGroups"] === undefined || /^\d+ \d+$/.test(String(link["pingGroups"]))) &&
      (link["number"] === undefined || Number.isInteger(link["number"])) &&
      isTun(link["tun"]) &&
      isTun(link["beside"]) &&
      isCarried(link["carried"]) &&
      Array.isArray(link["tables"]) &&
      link["tables"].every((table) => isObject(table) && typeof table["key"] === "string" && typeof table["table"] === "number"),
  );
  if (!wellFormed) return undefined;
  return (value as BuiltLink[]).map((link) => ({ ...link, group: Number.isInteger(link.group) ? link.group : 0 }));
}
