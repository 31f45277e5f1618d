/** Reads what nft prints about our tables; pure. Counters come as JSON (libnftables-json(5)). */

export interface Count {
  readonly packets: number;
  readonly bytes: number;
}

/** Table → counter → count. What is not a counter of a netdev table is left out. */
export type Counts = ReadonlyMap<string, ReadonlyMap<string, Count>>;

/** Lists every counter of the family in one call. */
export const listCounters = "list counters netdev\n";
export const listChains = "list chains netdev\n";

/** @throws SyntaxError when the text is no JSON */
export function parseCounters(json: string): Counts {
  const tables = new Map<string, Map<string, Count>>();
  for (const { family, name, table, packets, bytes } of objects(json, "counter")) {
    if (family !== "netdev" || typeof name !== "string" || typeof table !== "string") continue;
    if (typeof packets !== "number" || typeof bytes !== "number") continue;
    let counters = tables.get(table);
    if (counters === undefined) {
      counters = new Map();
      tables.set(table, counters);
    }
    counters.set(name, { packets, bytes });
  }
  return tables;
}

/**
 * Table → interfaces at whose ingress it stands, in the order of its chains; a table whose interfaces are gone has none.
 * From the plain listing: the JSON of nft 1.0 leaves interfaces out.
 */
export function parseTables(listing: string): ReadonlyMap<string, readonly string[]> {
  const tables = new Map<string, string[]>();
  let devices: string[] = [];
  for (const line of listing.split("\n")) {
    const table = /^table netdev (\S+) \{/.exec(line)?.[1];
    if (table !== undefined) {
      devices = [];
      tables.set(table, devices);
    }
    const hook = /\bhook ingress (device.*?) priority/.exec(line)?.[1] ?? "";
    for (const [, name = ""] of hook.matchAll(/"([^"]*)"/g)) devices.push(name);
  }
  return tables;
}

function* objects(json: string, kind: string): Iterable<Record<string, unknown>> {
  const parsed: unknown = JSON.parse(json);
  const list = isObject(parsed) ? parsed["nftables"] : undefined;
  if (!Array.isArray(list)) return;
  for (const entry of list as unknown[]) {
    const object = isObject(entry) && Object.hasOwn(entry, kind) ? entry[kind] : undefined;
    if (isObject(object)) yield object;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
