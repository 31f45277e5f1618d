/** The topology as text: nodes with their processes, and each connection as the way its packets take (pure). */
import type { MeshState } from "../mesh/state.js";
import { type ConnectionView, dataPath, describeWire, type HopView } from "../view/connections.js";
import { printable } from "../view/table.js";

export function drawMesh(mesh: MeshState, views: readonly ConnectionView[]): string {
  const lines = [`underlay (bridge in weft-underlay), registry ${mesh.registry.tcpUrl}`];
  mesh.nodes.forEach((node, index) => {
    const last = index === mesh.nodes.length - 1;
    const [turn, bar] = last ? ["└─", "  "] : ["├─", "│ "];
    lines.push(`${turn} ${node.name}  ${node.address4}  ${node.address6}  ${node.nsmgr.name}, ${node.forwarder.name}`);
    const own = mesh.pods.filter((pod) => pod.node === node.name);
    own.forEach((pod, at) => {
      lines.push(`${bar}   ${at === own.length - 1 ? "└─" : "├─"} ${pod.name}: ${pod.role}  (ip netns exec ${pod.netns} …)`);
    });
  });
  return `${lines.join("\n")}\n${views.map((view) => `\n${drawConnection(view, mesh)}`).join("")}`;
}

/** One connection from top to bottom. */
export function drawConnection(view: ConnectionView, mesh: MeshState): string {
  const wires = dataPath(view);
  const first = view.hops[0];
  const lines = [`${view.client} → ${view.service}: ${view.state}, payload ${view.payload}, MTU ${view.mtuBytes}, id ${view.id}`];
  if (first !== undefined) lines.push(`  ● ${place(first, mesh)}  ${view.clientInterface}  ${view.clientAddresses.join("  ")}`);
  wires.forEach((wire, index) => {
    const end = index === wires.length - 1;
    lines.push(`  │   ${describeWire(wire)}`);
    lines.push(`  ${end ? "●" : "○"} ${place(wire.to, mesh)}${end ? `  ${view.endpointAddresses.join("  ")}` : ""}`);
  });
  return `${lines.map(printable).join("\n")}\n`;
}

function place(hop: HopView, mesh: MeshState): string {
  const pod = mesh.pods.find(({ name }) => hop.name === name || hop.name.startsWith(`${name}-`));
  const node = pod?.node ?? (hop.node || "?");
  return `${hop.name} [${node}]`;
}
