/** What a heal test hears of a connection and of the hops. */
import type { Change } from "../../sdk/client/changes.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { MonitorScopeSelector } from "../../sdk/gen/connection.js";
import type { ProcessMesh } from "./process-mesh.js";

/** Long enough for a machine that is busy with other tests. */
const healingTimeoutMs = 40_000;

/**
 * The next healing; call it before the fault.
 * @throws what the connection told instead, when it takes too long
 */
export async function healing(connection: ClientConnection): Promise<Change & { kind: "healed" }> {
  const told: string[] = [];
  let tooLate: NodeJS.Timeout | undefined;
  const healed = (async () => {
    for await (const change of connection.changes) {
      if (change.kind === "healed") return change;
      told.push("reason" in change ? `${change.kind}: ${change.reason}` : change.kind);
    }
    throw new Error("the connection ended without healing");
  })();
  const limit = new Promise<never>((_, reject) => {
    const why = (): Error => new Error(`not healed within ${healingTimeoutMs} ms; it told: ${told.join("; ") || "nothing"}`);
    tooLate = setTimeout(() => reject(why()), healingTimeoutMs);
  });
  return Promise.race([healed, limit]).finally(() => clearTimeout(tooLate));
}

export function listenTo(connection: ClientConnection): string[] {
  const heard: string[] = [];
  void (async () => {
    for await (const change of connection.changes) heard.push(change.kind);
  })();
  return heard;
}

/** Number of connections at each manager and forwarder. */
export function connectionsAtHops(mesh: ProcessMesh): Promise<number[]> {
  return Promise.all(mesh.nodes.flatMap((node) => [connectionsAt(mesh, node.url), connectionsAt(mesh, node.forwarder.url)]));
}

export async function connectionsAt(mesh: ProcessMesh, at: string): Promise<number> {
  const stop = new AbortController();
  try {
    for await (const event of mesh.dialer.monitor(at, MonitorScopeSelector.fromPartial({}), stop.signal))
      return Object.keys(event.connections).length;
    return 0;
  } finally {
    stop.abort();
  }
}
