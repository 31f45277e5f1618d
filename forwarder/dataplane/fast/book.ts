/** The ledger of cross-connects in which the packet core has a part. */
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { CrossConnect } from "../dataplane.js";
import { type Ledger, openLedger } from "../ledger.js";

export interface FastBook {
  /** What was valid last, and ids of which the making was interrupted. */
  load(): { readonly committed: readonly CrossConnect[]; readonly interrupted: readonly string[] };
  begin(crossConnect: CrossConnect): void;
  commit(id: string): void;
  abandon(id: string): void;
  update(crossConnect: CrossConnect): void;
  /** It is going to be taken away: whoever compares the ledger with what is there must not miss it. */
  retire(id: string): void;
  remove(id: string): void;
}

const version = 1;

export function openFastBook(folder: string): FastBook {
  const ledger: Ledger = openLedger(folder);
  return {
    load() {
      const committed: CrossConnect[] = [];
      const interrupted: string[] = [];
      for (const [id, entry] of ledger.load().entries) {
        const read = decode(entry.committed);
        if (read !== undefined) committed.push(read);
        if (entry.begun !== undefined || read === undefined) interrupted.push(id);
      }
      return { committed, interrupted };
    },
    begin: (crossConnect) => ledger.begin(crossConnect.id, encode(crossConnect)),
    commit: ledger.commit,
    abandon: ledger.abandon,
    update: (crossConnect) => ledger.update(crossConnect.id, encode(crossConnect)),
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

function encode(crossConnect: CrossConnect): unknown {
  const { record, ...rest } = crossConnect;
  return { version, ...rest, record: Buffer.from(record).toString("base64") };
}

/** Undefined: not of our making. Values are checked again when it is built. */
function decode(value: unknown): CrossConnect | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { version: found, record, ...rest } = value as Record<string, unknown>;
  const { id, generation, client, endpoint } = rest;
  const whole = typeof id === "string" && typeof generation === "number" && isPort(client) && isPort(endpoint);
  if (found !== version || typeof record !== "string" || !whole) return undefined;
  // by way of unknown: what else it holds is checked when it is built
  return { ...rest, record: new Uint8Array(Buffer.from(record, "base64")) } as unknown as CrossConnect;
}

function isPort(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof (value as { kind?: unknown }).kind === "string";
}
