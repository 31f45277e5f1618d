/** Two nodes joined by an underlay, a client's namespace and an endpoint's, with kernel data planes. For tests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionContext, IPContext } from "../../sdk/gen/connectioncontext.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVxlan, getLink, listLinks } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { withNetns } from "../../sdk/linux/netns.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import type { DataPlane } from "../dataplane/dataplane.js";
import { createKernelDataPlane } from "../dataplane/kernel/kernel.js";
import type { TunnelBackend } from "../dataplane/kernel/tuns.js";
import { createMesh } from "./two-nodes.js";

type Test = Parameters<typeof temporaryNetns>[0];
type NodeOptions = NonNullable<Parameters<typeof createMesh>[1]> & { readonly backend?: TunnelBackend };

export function context(src: readonly string[], dst: readonly string[]): Partial<ConnectionContext> {
  return { ip_context: IPContext.fromPartial({ src_ip_addrs: [...src], dst_ip_addrs: [...dst] }) };
}

export async function createNodes(t: Test, options: NodeOptions = {}) {
  const [a, b] = [temporaryNetns(t, "a"), temporaryNetns(t, "b")];
  const [client, endpoint] = [temporaryNetns(t, "cl"), temporaryNetns(t, "ep")];
  const elsewhere = temporaryNetns(t, "else");
  const tunnels = options.tunnels ?? { a: "198.18.0.1", b: "198.18.0.2" };
  const length = tunnels.a.includes(":") ? 64 : 24;
  joinNetns(
    { netns: a, name: "under", addresses: [`${tunnels.a}/${length}`] },
    { netns: b, name: "under", addresses: [`${tunnels.b}/${length}`] },
  );
  const planes = { a: planeIn(t, a, options.backend), b: planeIn(t, b, options.backend) };
  const netns = { client: client.url, endpoint: endpoint.url };
  const mesh = await createMesh(t, { ...options, planes, netns });
  const linkOf = (where: TestNetns, name: string) => inside(where, (socket) => getLink(socket, name));
  return {
    mesh,
    planes,
    a,
    b,
    client,
    endpoint,
    linkOf,
    mtuOf: (where: TestNetns, name: string) => linkOf(where, name)?.mtuBytes,
    addressesOf: (where: TestNetns, name: string) =>
      inside(where, (socket) =>
        listAddresses(socket, getLink(socket, name)?.index)
          .map(({ prefix }) => formatPrefix(prefix))
          .filter((address) => !address.startsWith("fe80:")),
      ),
    /** Every link of every namespace of the test. */
    inventory: () =>
      [a, b, client, endpoint].map((where) =>
        inside(where, (socket) => listLinks(socket).map(({ name, mtuBytes }) => `${name} ${mtuBytes}`)),
      ),
    /** A VXLAN device of a stranger: made on a node, living in another namespace. */
    plantVxlan(node: "a" | "b", vni: number) {
      const local = node === "a" ? "198.18.0.1" : "198.18.0.2";
      inside(node === "a" ? a : b, (socket) =>
        socket.perform([
          createVxlan({
            ...{ netns: elsewhere, name: "stranger", mtuBytes: 1400, macAddress: randomMac(), vni, udpPort: 4789 },
            localAddress: local,
            remoteAddress: "198.18.0.9",
          }),
        ]),
      );
    },
    async ping(src: readonly string[], dst: readonly string[]) {
      const { signal } = new AbortController();
      // More than once: on a busy machine the kernel makes an IPv6 address local a moment after it has accepted it (addrconf_dad_work).
      const answers = (netnsUrl: string, source: string, destination: string): Promise<true> =>
        until(`an answer from ${destination} to ${source}`, async () => {
          return (await icmpEcho({ netnsUrl, source, destination, timeoutMs: 500, signal })) !== undefined;
        });
      for (const [i, from] of src.entries()) {
        const [source = "", destination = ""] = [from, dst[i] ?? ""].map((prefix) => prefix.split("/")[0]);
        await answers(client.url, source, destination);
        await answers(endpoint.url, destination, source);
      }
    },
  };
}

/** A kernel data plane that lives on a node: it keeps the sockets that it opens in the node's namespace. */
function planeIn(t: Test, node: TestNetns, tunnels: TunnelBackend | undefined): DataPlane {
  const stateDir = mkdtempSync(join(tmpdir(), "wt-state-"));
  const plane = withNetns(node, () => createKernelDataPlane({ stateDir, log: silentLog, tunnels }));
  t.after(async () => {
    for (const { id } of plane.list()) await plane.remove(id, new AbortController().signal);
    await plane.close();
    rmSync(stateDir, { recursive: true, force: true });
  });
  return plane;
}

/** Looks around in a namespace. */
export function inside<T>(where: TestNetns, look: (socket: NetlinkSocket) => T): T {
  const socket = openNetlinkSocket(where);
  try {
    return look(socket);
  } finally {
    socket.close();
  }
}

/** The same numbers each time: 0 … below − 1. */
export function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
