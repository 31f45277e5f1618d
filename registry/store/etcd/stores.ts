/**
 * A registry's entries in etcd, for sites without Kubernetes; several replicas share them. Keys are PREFIX/services/NAME and
 * PREFIX/endpoints/NAME, values the messages as on the wire. The table follows a watch; a write is a transaction on the
 * revision it is based on, so that of two replicas one wins, and is in the table when it is acknowledged. Leases are as in
 * the store on Kubernetes (lease-of-others.ts).
 */
import type { Clock } from "../../../sdk/clock.js";
import { Code, isStatusError, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import { type Entry, endpointKind, type Kind, serviceKind } from "../../kind.js";
import { isOver, withWholeLease } from "../lease-of-others.js";
import { overtaken } from "../memory.js";
import type { Store, Stores } from "../store.js";
import { createTable } from "../table.js";
import { createEtcdClient, type EtcdClient, type EtcdOptions } from "./client.js";
import { type Followed, type FollowOptions, follow, type Header, type KeyValue } from "./follow.js";
import { isLeaseUnknown, openSession, type Session } from "./session.js";

export interface EtcdStoresOptions extends EtcdOptions {
  /** Before each key; several registries may share an etcd. */
  readonly prefix: string;
  readonly leasePeriodMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the wait for the first list. */
  readonly signal: AbortSignal;
  readonly timing?: FollowOptions["timing"];
}

/**
 * Opens the store and reads everything; waits as long as etcd does not answer.
 * @throws the last problem when the signal aborts
 */
export async function openEtcdStores(options: EtcdStoresOptions): Promise<Stores> {
  const client = createEtcdClient(options);
  const session = openSession(client, options.log);
  const services = openStore("services", serviceKind, { ...options, client, session: undefined });
  const endpoints = openStore("endpoints", endpointKind, { ...options, client, session });
  const close = async (): Promise<void> => {
    await Promise.all([services.close(), endpoints.close(), session.close()]);
    client.close();
  };
  try {
    await Promise.all([services.followed.synced(options.signal), endpoints.followed.synced(options.signal)]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    services,
    endpoints,
    staleness() {
      const states = [services.followed.state, endpoints.followed.state].filter(({ live }) => !live);
      if (states.length === 0) return undefined;
      const why = states.find(({ problem }) => problem !== undefined)?.problem?.details ?? "the watch is starting";
      return { sinceMs: Math.min(...states.map(({ sinceMs }) => sinceMs)), why };
    },
    close,
  };
}

interface EtcdStore<T extends Entry> extends Store<T> {
  readonly followed: Followed;
  close(): Promise<void>;
}

interface TxnAnswer {
  readonly header: Header;
  readonly succeeded?: boolean;
  readonly responses?: readonly { readonly response_range?: { readonly kvs?: readonly KeyValue[] } }[];
}

function openStore<T extends Entry>(
  folder: string,
  kind: Kind<T>,
  options: EtcdStoresOptions & { readonly client: EtcdClient; readonly session: Session | undefined },
): EtcdStore<T> {
  const { client, session, clock, leasePeriodMs, log } = options;
  const prefix = `${options.prefix.replace(/\/+$/, "")}/${folder}/`;
  const table = createTable(kind);
  /** The revision of what we know of a name; also of one that is gone, until the next list. */
  const revisions = new Map<string, bigint>();
  let closed = false;

  const nameOf = (key: string): string => Buffer.from(key, "base64").toString("utf8").slice(prefix.length);
  const keyOf = (name: string): string => Buffer.from(prefix + name).toString("base64");
  const wholeLeaseMs = (): number => clock.nowMs() + leasePeriodMs;

  function enter(pair: KeyValue, isOtherHistory = false): void {
    const name = nameOf(pair.key);
    const revision = BigInt(pair.mod_revision);
    if (!isOtherHistory && revision <= (revisions.get(name) ?? 0n)) return;
    const entry = read(pair, name);
    if (entry === undefined) return;
    revisions.set(name, revision);
    table.put(withWholeLease(entry, wholeLeaseMs()));
  }

  function read(pair: KeyValue, name: string): T | undefined {
    try {
      const entry = kind.decode(Buffer.from(pair.value ?? "", "base64"));
      if (entry.name !== name) throw new Error(`it is called ${JSON.stringify(entry.name)}`);
      return entry;
    } catch (error) {
      log.error(`a ${kind.noun} in etcd cannot be read and is left out: correct or delete the key`, {
        key: prefix + name,
        error,
      });
      return undefined;
    }
  }

  function leave(name: string, revision: bigint): void {
    if (revision <= (revisions.get(name) ?? 0n)) return;
    revisions.set(name, revision);
    if (table.get(name) !== undefined) table.remove(name);
  }

  function onList(pairs: readonly KeyValue[], revision: bigint, isOtherHistory: boolean): void {
    const there = new Set(pairs.map(({ key }) => nameOf(key)));
    for (const [name, known] of [...revisions]) {
      // what was written by us since is not gone
      if (there.has(name) || (!isOtherHistory && known > revision)) continue;
      revisions.delete(name);
      if (table.get(name) !== undefined) table.remove(name);
    }
    const byAge = (a: KeyValue, b: KeyValue): number =>
      BigInt(a.create_revision ?? 0) < BigInt(b.create_revision ?? 0) ? -1 : 1;
    for (const pair of [...pairs].sort(byAge))
      enter(pair, isOtherHistory && revisions.get(nameOf(pair.key)) !== BigInt(pair.mod_revision));
  }

  const followed = follow({
    ...options,
    prefix,
    onList,
    onEvent(type, pair) {
      if (type === "PUT") {
        enter(pair);
        return;
      }
      const name = nameOf(pair.key);
      leave(name, BigInt(pair.mod_revision));
      // no older news of it can come
      if (table.get(name) === undefined) revisions.delete(name);
    },
    onLive() {
      // nobody could refresh while we were away
      for (const { entry } of table.places()) {
        const extended = entry === undefined ? undefined : withWholeLease(entry, wholeLeaseMs());
        if (extended !== undefined && extended !== entry) table.put(extended);
      }
    },
  });

  async function write(name: string, expected: T | undefined, next: T | undefined): Promise<void> {
    const key = keyOf(name);
    const based = expected === undefined ? 0n : (revisions.get(name) ?? 0n);
    const value = next === undefined ? undefined : Buffer.from(kind.encode(next)).toString("base64");
    const lease = value === undefined ? undefined : await session?.id();
    const change =
      value === undefined
        ? { request_delete_range: { key } }
        : { request_put: { key, value, ...(lease !== undefined && { lease }) } };
    const body = {
      compare: [{ key, target: "MOD", result: "EQUAL", mod_revision: String(based) }],
      success: [change],
      failure: [{ request_range: { key } }],
    };
    const { answer, wasTried } = await client.call<TxnAnswer>("/v3/kv/txn", body).catch((error: unknown) => {
      if (lease !== undefined && isLeaseUnknown(error)) session?.lost(lease);
      throw error;
    });
    const revision = BigInt(answer.header.revision ?? "0");
    const found = answer.responses?.[0]?.response_range?.kvs?.[0];
    if (answer.succeeded !== true) {
      // an attempt whose answer was lost has done it
      const isDone = wasTried && found?.value === value;
      if (found !== undefined) enter(found);
      else leave(name, revision);
      if (!isDone) throw overtaken(kind.noun, name);
    } else if (next === undefined) leave(name, revision);
    else settle(name, next, revision);
  }

  /** What we have written stands in the table as we were asked to write it, once. */
  function settle(name: string, entry: T, revision: bigint): void {
    const known = revisions.get(name) ?? 0n;
    const seen = table.get(name);
    if (known > revision) return;
    if (known === revision && seen !== undefined && Buffer.from(kind.encode(seen)).equals(kind.encode(entry))) return;
    revisions.set(name, revision);
    table.put(entry);
  }

  async function writeOnNewLease(name: string, expected: T | undefined, next: T | undefined): Promise<void> {
    try {
      await write(name, expected, next);
    } catch (error) {
      if (!isLeaseUnknown(error)) throw error;
      await write(name, expected, next);
    }
  }

  function refreshOnly(expected: T | undefined, next: T | undefined): T | undefined {
    if (expected === undefined || next === undefined) return undefined;
    const kept = kind.compact(next, expected);
    return kind.onlyLeaseDiffers(expected, kept) ? kept : undefined;
  }

  return {
    table,
    followed,
    async replace(name, expected, next) {
      if (closed) throw statusError(Code.UNAVAILABLE, "the registry is stopping: try again at once");
      if (table.get(name) !== expected) throw overtaken(kind.noun, name);
      const refreshed = refreshOnly(expected, next);
      const isLive = followed.state.live;
      if (!isLive && refreshed !== undefined) {
        table.put(refreshed);
        return;
      }
      if (!isLive && next === undefined && expected !== undefined && isOver(expected, clock.nowMs())) {
        throw statusError(Code.UNAVAILABLE, `${kind.noun} ${name} is kept while etcd cannot be followed`);
      }
      try {
        await writeOnNewLease(name, expected, next);
      } catch (error) {
        if (refreshed === undefined || !isStatusError(error) || error.code !== Code.UNAVAILABLE) throw error;
        if (table.get(name) !== expected) throw overtaken(kind.noun, name);
        table.put(refreshed);
      }
    },
    async close() {
      closed = true;
      await followed.stop();
    },
  };
}
