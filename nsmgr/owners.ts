/**
 * owners — whose connections and local endpoints are, over a restart of the manager: see sdk/policies/owner-book.ts.
 * A manager keeps nothing else: clients and endpoints come back by themselves, forwarders show what they have (recover.ts). Between its death and their
 * next call nobody else can take their ids and names.
 */
import { resolveStateDir } from "../sdk/config/state-dir.js";
import { type OwnerBook, openOwnerBook } from "../sdk/policies/owner-book.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { NsmgrConfig } from "./config.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export interface OwnersDeps {
  readonly identity?: object | undefined;
  readonly log: Log;
  readonly nowMs: () => number;
  /** For the default directory; absent = only a configured one is used. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/**
 * @returns undefined without identity (nobody owns anything), and where no directory can be written and none was asked for
 * @throws as openOwnerBook and resolveStateDir, for a directory that was asked for
 */
export function keepOwners(config: Pick<NsmgrConfig, "stateDir" | "name">, deps: OwnersDeps): OwnerBook | undefined {
  const { identity, log, nowMs, env } = deps;
  const isAskedFor = config.stateDir !== undefined;
  if (identity === undefined || (!isAskedFor && env === undefined)) return undefined;
  try {
    return openOwnerBook({ dir: resolveStateDir(config.stateDir, config.name, env ?? {}), log, nowMs });
  } catch (error) {
    if (isAskedFor) throw error;
    log.warn("owners of connections are not kept over a restart: set WEFT_STATE_DIR to a writable directory", { error });
    return undefined;
  }
}

/** Apart from ids of connections, which have no space in front. */
const keyOf = (name: string): string => ` endpoint ${name}`;

/** The book follows the endpoints of this node. @returns stops it */
export function followEntries(book: OwnerBook, locals: LocalEndpoints, lifetimeMs: number, nowMs: () => number): () => void {
  return locals.onChange((name, endpoint) => {
    if (endpoint === undefined) return book.delete(keyOf(name));
    const { path_ids, expiration_time: ends } = endpoint;
    const owner = path_ids[0] ?? "";
    if (owner !== "") book.set(keyOf(name), owner, ends === undefined ? nowMs() + lifetimeMs : timestampMs(ends));
  });
}

/** Identities along the way of an entry, as far as this manager knows or remembers. */
export function pathIdsIn(
  locals: Pick<LocalEndpoints, "get">,
  book: OwnerBook | undefined,
): (name: string) => readonly string[] | undefined {
  return (name) => {
    const known = locals.get(name)?.path_ids;
    if (known !== undefined) return known;
    const owner = book?.ownerOf(keyOf(name));
    return owner === undefined ? undefined : [owner];
  };
}
