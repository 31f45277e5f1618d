/** What a heal test hears of a connection and of the hops. */
import type { Change } from "../../sdk/client/changes.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { MonitorScopeSelector } from "../../sdk/gen/connection.js";
import type { ProcessMesh } from "./process-mesh.js";

/** The next healing; call it before the fault. */
export async function healing(connection: ClientConnection): Promise<Change & { kind: "healed" }> {
  for await (const change of connection.changes) if (change.kind === "healed") return change;
  throw new Error("the connection ended without healing");
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

async function connectionsAt(mesh: ProcessMesh, at: string): Promise<number> {
  const stop = new AbortController();
  try {
    for await (const event of mesh.dialer.monitor(at, MonitorScopeSelector.fromPartial({}), stop.signal))
      return Object.keys(event.connections).length;
    return 0;
  } finally {
    stop.abort();
  }
}
