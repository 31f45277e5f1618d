/** The ledger of cross-connects in which the packet core has a part. */
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { CrossConnect } from "../dataplane.js";
import { type Ledger, openLedger } from "../ledger.js";
import { readWhereabouts, type Whereabouts } from "./whereabouts.js";

export interface FastBook {
  /** What was valid last, ids of which the making was interrupted, and of those what was to be made where nothing was valid yet. */
  load(): {
    readonly committed: readonly CrossConnect[];
    readonly interrupted: readonly string[];
    readonly unfinished: readonly CrossConnect[];
  };
  /** Of what is committed: where its namespaces were. */
  whereabouts(id: string): Whereabouts;
  begin(crossConnect: CrossConnect, whereabouts?: Whereabouts): void;
  commit(id: string): void;
  abandon(id: string): void;
  update(crossConnect: CrossConnect, whereabouts?: Whereabouts): void;
  /** It is going to be taken away: whoever compares the ledger with what is there must not miss it. */
  retire(id: string): void;
  remove(id: string): void;
}

const version = 1;

export function openFastBook(folder: string): FastBook {
  const ledger: Ledger = openLedger(folder);
  const places = new Map<string, Whereabouts>();
  return {
    load() {
      const committed: CrossConnect[] = [];
      const interrupted: string[] = [];
      const unfinished: CrossConnect[] = [];
      for (const [id, entry] of ledger.load().entries) {
        const read = decode(entry.committed);
        if (read !== undefined) {
          committed.push(read);
          places.set(id, readWhereabouts((entry.committed as { readonly whereabouts?: unknown }).whereabouts));
        }
        if (entry.begun !== undefined || read === undefined) interrupted.push(id);
        const begun = read === undefined ? decode(entry.begun) : undefined;
        if (begun !== undefined) unfinished.push(begun);
      }
      return { committed, interrupted, unfinished };
    },
    whereabouts: (id) => places.get(id) ?? readWhereabouts(undefined),
    begin: (crossConnect, whereabouts) => ledger.begin(crossConnect.id, { ...encode(crossConnect), whereabouts }),
    commit: ledger.commit,
    abandon: ledger.abandon,
    update: (crossConnect, whereabouts) => ledger.update(crossConnect.id, { ...encode(crossConnect), whereabouts }),
    retire(id) {
      try {
        ledger.retire(id);
      } catch (error) {
        // somebody else has removed the file: nothing is left that could be missed
        if (!hasErrno(error, "ENOENT")) throw error;
      }
    },
    remove: ledger.remove,
  };
}

function encode(crossConnect: CrossConnect): object {
  const { record, ...rest } = crossConnect;
  return { version, ...rest, record: Buffer.from(record).toString("base64") };
}

/** Undefined: not of our making. Values are checked again when it is built. */
function decode(value: unknown): CrossConnect | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { version: found, record, whereabouts: _, ...rest } = value as Record<string, unknown>;
  const { id, generation, client, endpoint } = rest;
  const whole = typeof id === "string" && typeof generation === "number" && isPort(client) && isPort(endpoint);
  if (found !== version || typeof record !== "string" || !whole) return undefined;
  // by way of unknown: what else it holds is checked when it is built
  return { ...rest, record: new Uint8Array(Buffer.from(record, "base64")) } as unknown as CrossConnect;
}

function isPort(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof (value as { kind?: unknown }).kind === "string";
}
