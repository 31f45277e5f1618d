/**
 * The filter on every connection that passes this process: one nft table each, all with the same rules.
 * Rules are swapped in one transaction for all connections; when nft refuses them, all keep the old ones.
 * Tables stay when the process ends, so that packets go on through the same rules until it is back.
 */
import type { Fact } from "../../sdk/gen/inspect.js";
import type { Nft } from "../nft.js";
import { facts } from "./facts.js";
import { createTable, deleteTable, replaceRules, tableName, tablePrefix } from "./nft-script.js";
import { listChains, listCounters, parseCounters, parseTables } from "./read-ruleset.js";
import type { Rule } from "./rules.js";

export interface PacketFilter {
  /** Passes frames between two interfaces that exist. Doing it again for the same connection builds it anew. */
  connect(connectionId: string, clientInterface: string, networkInterface: string): Promise<void>;
  /** Unknown ids are fine. */
  disconnect(connectionId: string): Promise<void>;
  setRules(rules: readonly Rule[]): Promise<void>;
  rules(): readonly Rule[];
  /** Section "counters" of the report. */
  report(): Promise<Fact[]>;
}

interface Table {
  /** Undefined for a table of an earlier run until its connection is asked for again. */
  readonly connectionId: string | undefined;
  /** Client's and network's. */
  readonly interfaces: readonly string[];
  /** What stands in it. */
  readonly rules: readonly Rule[];
}

/** Takes over the tables of an earlier run whose interfaces are still there, and removes the others. */
export async function createPacketFilter(nft: Nft): Promise<PacketFilter> {
  const tables = new Map<string, Table>();
  let rules: readonly Rule[] = [];
  let queue: Promise<unknown> = Promise.resolve();
  /** One change after another: each script is made from the state that the one before has left. */
  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = queue.then(run);
    queue = result.catch(() => {});
    return result;
  }

  const stale: string[] = [];
  for (const [table, interfaces] of parseTables(await nft(listChains))) {
    if (!table.startsWith(tablePrefix)) continue;
    if (interfaces.length === 2) tables.set(table, { connectionId: undefined, interfaces, rules: [] });
    else stale.push(table);
  }
  if (stale.length > 0) await nft(stale.map(deleteTable).join(""));

  return {
    connect: (connectionId, client, network) =>
      inTurn(async () => {
        const table = tableName(connectionId);
        const known = tables.get(table);
        const interfaces = [client, network];
        // An earlier run's table goes when its interfaces do, so it is the right one: flows and counters go on.
        const adopted = known !== undefined && known.connectionId === undefined && known.interfaces.join() === interfaces.join();
        if (!adopted) await nft(deleteTable(table) + createTable(table, client, network, rules));
        tables.set(table, { connectionId, interfaces, rules });
      }),
    disconnect: (connectionId) =>
      inTurn(async () => {
        const table = tableName(connectionId);
        if (!tables.has(table)) return;
        await nft(deleteTable(table));
        tables.delete(table);
      }),
    setRules: (after) =>
      inTurn(async () => {
        const changes = [...tables].map(([table, { rules: before }]) => replaceRules(table, before, after));
        // The trial is for the case without connections: a wrong rule is to be found when the file is read, not later.
        await nft([...changes, trial(after)].join(""));
        for (const [table, known] of tables) tables.set(table, { ...known, rules: after });
        rules = after;
      }),
    rules: () => rules,
    report: () =>
      inTurn(async () => {
        if (tables.size === 0) return [];
        const counts = parseCounters(await nft(listCounters, { json: true }));
        return [...tables].flatMap(([table, known]) => facts(known.connectionId ?? "", known.rules, counts.get(table)));
      }),
  };
}

/** The rules in chains that no packet reaches, and away with them, in one transaction. */
function trial(rules: readonly Rule[]): string {
  const table = tableName("trial of rules");
  const unreached = createTable(table, "lo", "lo", rules)
    .split("\n")
    .filter((line) => !/ from_(client|network) /.test(line))
    .join("\n");
  return unreached + deleteTable(table);
}
