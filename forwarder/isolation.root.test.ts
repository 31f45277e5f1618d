import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type ConnectionContext, IPContext } from "../sdk/gen/connectioncontext.js";
import { icmpEcho } from "../sdk/linux/icmp-echo.js";
import * as libc from "../sdk/linux/libc.js";
import { withNetns } from "../sdk/linux/netns.js";
import { type TestNetns, temporaryNetns } from "../sdk/testing/netns.js";
import { createNodes, seeded } from "./testing/kernel-nodes.js";
import { kernel } from "./testing/two-nodes.js";

/** A long run: WEFT_TEST_CYCLES=1000. */
const rounds = Number(process.env["WEFT_TEST_CYCLES"] ?? 300);
const slots = 3;

test("two tenants with the same addresses on shared nodes never see a frame of each other over random opens and closes", async (t) => {
  // This chance gives the smallest free VNI: numbers pass from tenant to tenant all the time.
  const nodes = await createNodes(t, { random: [0] });
  const tenants = [tenant(t, 0x58), tenant(t, 0x59)] as const;
  const random = seeded(42);
  const open = new Map<string, Awaited<ReturnType<typeof nodes.mesh.request>>>();
  let answered = 0;
  for (let round = 0; round < rounds; round++) {
    const own = tenants[random(2)] ?? tenants[0];
    const slot = random(slots);
    const id = `${own.mark}-${slot}`;
    const held = open.get(id);
    if (held !== undefined) {
      open.delete(id);
      await nodes.mesh.close("a", held);
    } else {
      nodes.mesh.endpoint.netnsUrl = () => own.endpoint.url;
      nodes.mesh.endpoint.interfaceName = () => `e${slot}`;
      nodes.mesh.endpoint.context = own.context(slot);
      const preferences = [kernel(own.client.url, `p${slot}`)];
      open.set(id, await nodes.mesh.request("a", random(2) === 0 ? "local" : "remote", { id, preferences }));
      const echo = { source: `10.0.${slot}.1`, destination: `10.0.${slot}.2`, timeoutMs: 5_000, signal: t.signal };
      if ((await icmpEcho({ netnsUrl: own.client.url, ...echo })) !== undefined) answered++;
    }
    for (const each of tenants) each.look();
  }
  for (const connection of open.values()) await nodes.mesh.close("a", connection);
  const [one, other] = tenants;
  for (const each of tenants) each.look();
  assert.equal(one.seen.get(other.mark) ?? 0, 0, "frames of the other tenant");
  assert.equal(other.seen.get(one.mark) ?? 0, 0, "frames of the other tenant");
  for (const each of tenants) assert.ok((each.seen.get(each.mark) ?? 0) > rounds, "its own frames are seen");
  assert.ok(answered > rounds / 3, `${answered} connections have answered`);
});

/** The namespaces of one tenant. Whatever its interfaces send bears its mark in the source MAC; all that they hear is looked at. */
function tenant(t: TestContext, mark: number) {
  const [client, endpoint] = [temporaryNetns(t, "cl"), temporaryNetns(t, "ep")];
  const ears = [listenToAll(t, client), listenToAll(t, endpoint)];
  const seen = new Map<number, number>();
  const mac = (end: number, slot: number): string =>
    `02:${mark.toString(16)}:00:00:${end.toString(16).padStart(2, "0")}:0${slot}`;
  return {
    mark,
    client,
    endpoint,
    /** Frames by the mark of who sent them. */
    seen,
    look() {
      for (const frame of ears.flatMap((hear) => hear())) {
        const from = frame.readUInt8(7);
        if (frame.readUInt8(6) === 0x02) seen.set(from, (seen.get(from) ?? 0) + 1);
      }
    },
    /** The same for every tenant, but for the MAC addresses. */
    context: (slot: number): Partial<ConnectionContext> => ({
      ethernet_context: { src_mac: mac(1, slot), dst_mac: mac(2, slot), vlan_tag: 0 },
      ip_context: IPContext.fromPartial({
        src_ip_addrs: [`10.0.${slot}.1/32`, `fd00::${slot}:1/128`],
        dst_ip_addrs: [`10.0.${slot}.2/32`, `fd00::${slot}:2/128`],
      }),
    }),
  };
}

/** A packet socket for all frames of all interfaces of a namespace (packet(7)); the result reads what came. */
function listenToAll(t: TestContext, netns: TestNetns): () => Buffer[] {
  const AF_PACKET = 17;
  const ETH_P_ALL = 0x0300; // 3 in network byte order
  const SO_RCVBUF = 8;
  const fd = withNetns(netns, () => libc.openSocket(AF_PACKET, libc.SOCK_RAW, ETH_P_ALL, "listen to all frames"));
  t.after(() => libc.closeDescriptor(fd));
  libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUF, 1 << 20, "make room for frames");
  const buffer = Buffer.alloc(2_048);
  return () => {
    const frames: Buffer[] = [];
    for (;;) {
      const length = libc.receive(fd, buffer, libc.MSG_DONTWAIT, "read a frame");
      if (length === undefined) return frames;
      if (length >= 14) frames.push(Buffer.from(buffer.subarray(0, 14)));
    }
  };
}
