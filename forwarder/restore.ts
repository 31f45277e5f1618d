/** What a forwarder knew before it was restarted, from what its data plane has adopted. */
import type { OwedCloses } from "../sdk/elements/owed-closes.js";
import type { Log } from "../sdk/telemetry/log.js";
import { type Connections, decodeRecord } from "./connections.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import type { VniPool } from "./vni.js";
import type { WireguardEnds } from "./wireguard-ends.js";

/**
 * Adopts what lives: connections are held again with what was agreed, and their VNIs, UDP ports and keys
 * stay theirs. What nobody can go on with (its record is unreadable) is removed. The next hops of what does not live any more, and
 * of what was only being made, are owed a close: they have their side of it.
 */
export async function restoreConnections(options: {
  readonly dataPlane: DataPlane;
  readonly connections: Connections;
  readonly vnis: VniPool;
  readonly wireguardEnds: Pick<WireguardEnds, "restore">;
  /** Absent: next hops are not told. */
  readonly owed?: Pick<OwedCloses, "note"> | undefined;
  readonly nowMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { dataPlane, connections, vnis, wireguardEnds, owed, nowMs, log, signal } = options;
  const { adopted, reclaimed, lost } = await dataPlane.recover(nowMs);
  for (const crossConnect of lost) {
    const held = decodeRecord(crossConnect);
    if (held !== undefined && crossConnect.expiresAtMs > nowMs)
      owed?.note({ url: held.nextHop.url, connection: held.downstream });
  }
  for (const crossConnect of adopted) {
    const { id } = crossConnect;
    const held = decodeRecord(crossConnect);
    if (held === undefined) {
      log.warn("the ledger's record of a connection cannot be read; it is removed", { connectionId: id });
      await dataPlane.remove(id, signal);
      continue;
    }
    connections.set(id, held);
    for (const port of [crossConnect.client, crossConnect.endpoint]) {
      if (port.kind === "vxlan") vnis.claim({ owner: id, udpPort: port.udpPort, vni: port.vni });
      if (port.kind === "wireguard") wireguardEnds.restore(id, port);
    }
  }
  for (const { kind, name, netnsUrl, connectionId } of reclaimed) {
    log.info(`reclaimed ${kind} ${name}`, { netns: netnsUrl, connectionId });
  }
  if (adopted.length + reclaimed.length > 0) log.info("recovered", { adopted: adopted.length, reclaimed: reclaimed.length });
}
