/** A chain of functions with real packets: client → wire (a bridge in its own pod) → endpoint. */
import type { TestContext } from "node:test";
import { NetworkService } from "../../sdk/gen/registry.js";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { createPlainLink, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "../../sdk/linux/netns.js";
import { passthrough, type Wire } from "../../sdk/passthrough/passthrough.js";
import { until } from "../../sdk/testing/until.js";
import type { ProcessMesh } from "./process-mesh.js";

/** Of the chain. */
export const service = "chain";

export async function registerChain(mesh: ProcessMesh): Promise<void> {
  const matches = [
    { source_selector: { app: "wire" }, routes: [{ destination_selector: { app: "nse" } }] },
    { routes: [{ destination_selector: { app: "wire" } }] },
  ];
  const entry = NetworkService.fromPartial({ name: service, payload: "ETHERNET", matches });
  const signal = AbortSignal.timeout(10_000);
  await mesh.dialer.serviceRegistry(mesh.nodes[0]?.url ?? "").register(entry, { signal });
}

/** What a connection passes, without managers and forwarders. */
export function functionsOf({
  connection,
}: {
  readonly connection: { readonly path?: { readonly path_segments: readonly { name: string }[] } | undefined };
}) {
  const names = connection.path?.path_segments.map(({ name }) => name) ?? [];
  return names.slice(1).filter((name) => !/^(nsmgr|forwarder)-/.test(name));
}

let count = 0;

/** A function that joins its two interfaces with a bridge. */
export async function startWire(t: TestContext, mesh: ProcessMesh, node: number) {
  const netns = `wt-wire-${process.pid}-${++count}`;
  createNamedNetns(netns);
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  const running = await passthrough({
    name: "wire-1",
    services: [service],
    labels: { app: "wire" },
    nsmgr: mesh.nodes[node]?.url ?? "",
    netns,
    signal: new AbortController().signal,
    onConnection: (wire) => void join(wire),
  });
  async function join({ inInterface, outInterface, closed }: Wire): Promise<void> {
    const bridge = `br${outInterface.slice(-8)}`;
    if (getLink(socket, bridge) === undefined) socket.perform([createPlainLink(bridge, "bridge")]);
    const masterIndex = getLink(socket, bridge)?.index ?? 0;
    socket.perform([setLink(masterIndex, { up: true })]);
    for (const name of [outInterface, inInterface]) {
      const link = await until(name, () => closed.aborted || getLink(socket, name));
      if (link !== true) socket.perform([setLink(link.index, { masterIndex, up: true })]);
    }
  }
  t.after(async () => {
    await running.close();
    socket.close();
    handle.close();
    deleteNamedNetns(netns);
  });
  return {
    netns,
    addresses: () => listAddresses(socket).filter(({ scope }) => scope === 0),
  };
}
