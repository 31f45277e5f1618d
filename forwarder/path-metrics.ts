/**
 * The forwarder's figures about a connection, as they stand in its path segment (pure). Names of NSM's dashboard:
 * `server_*` is our port towards the side that asked, `client_*` the one towards the side that answers; rx is what the
 * forwarder receives there.
 */
import type { Connection } from "../sdk/gen/connection.js";
import { withCurrentSegment } from "../sdk/path.js";
import type { Counters, CrossConnect, Port } from "./dataplane/dataplane.js";

/** A copy of the connection whose current segment carries the figures. */
export function withPortMetrics(
  connection: Connection,
  crossConnect: Pick<CrossConnect, "client" | "endpoint">,
  counters: Counters | undefined,
): Connection {
  return withCurrentSegment(connection, (segment) => ({
    ...segment,
    metrics: {
      ...segment.metrics,
      server_interface: nameOf(crossConnect.client),
      client_interface: nameOf(crossConnect.endpoint),
      ...(counters === undefined ? {} : figures(counters)),
    },
  }));
}

/** What the client's interface has sent (its tx) is what we received from it, and what we sent on. */
function figures({ rxBytes, txBytes, rxPackets, txPackets, drops }: Counters): Record<string, string> {
  return {
    server_rx_bytes: String(txBytes),
    server_tx_bytes: String(rxBytes),
    server_rx_packets: String(txPackets),
    server_tx_packets: String(rxPackets),
    server_drops: String(drops),
    client_rx_bytes: String(rxBytes),
    client_tx_bytes: String(txBytes),
    client_rx_packets: String(rxPackets),
    client_tx_packets: String(txPackets),
    client_drops: String(drops),
  };
}

/** "KERNEL/nsm-1", "VXLAN/42". */
function nameOf(port: Port): string {
  switch (port.kind) {
    case "kernel":
      return `KERNEL/${port.interfaceName}`;
    case "vxlan":
      return `VXLAN/${port.vni}`;
    case "wireguard":
      return `WIREGUARD/${port.listenPort}`;
    case "memif":
      return `MEMIF/${port.socketFile}`;
    case "noop":
      return `${port.mechanism}/`;
  }
}
