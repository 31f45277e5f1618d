/**
 * Throughput of a connection against the bare kernel devices it is made of: what the mesh adds to a packet's way is nothing.
 */

import { crossConnect, type Namespace, noSignal, numbered, twoNodes } from "../forwarder/dataplane/compliance-world.js";
import type { DataPlane } from "../forwarder/dataplane/dataplane.js";
import { createKernelDataPlane } from "../forwarder/dataplane/kernel/kernel.js";
import { addAddress } from "../sdk/linux/netlink/addresses.js";
import { parsePrefix } from "../sdk/linux/netlink/ip-address.js";
import { createVeth, createVxlan, getLink, setLink } from "../sdk/linux/netlink/links.js";
import { randomMac } from "../sdk/linux/netlink/mac-address.js";
import { withNetns } from "../sdk/linux/netns.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { type BenchWorld, benchWorld, missingNamespaces } from "./kernel-world.js";
import { percentile } from "./process-cost.js";
import type { Bench } from "./table.js";
import { choosePump, type Pump } from "./tcp-pump.js";

interface Wire {
  readonly from: Namespace;
  readonly to: Namespace;
  readonly address: string;
}

const secondsPerMeasurement = 1;
const localMtuBytes = 1500;
/** Underlay 1500 less what VXLAN over IPv4 adds (54, NSM's figure). */
const tunnelMtuBytes = 1446;

export const bench: Bench = {
  name: "throughput",
  missing: missingNamespaces,
  async run({ quick, progress }) {
    const world = benchWorld();
    const planes: DataPlane[] = [];
    const pump = choosePump();
    const pairs = quick ? 3 : 20;
    try {
      const local = { name: "local", ours: await ourLocal(world, planes), bare: bareVeth(world) };
      const remote = { name: "remote", ours: await ourRemote(world, planes), bare: bareVxlan(world) };
      const method =
        `One TCP stream with ${pump.name}, ${pairs} pairs of ${secondsPerMeasurement} s, ours and the bare one right after each other and in turns ` +
        "first. The ratio is the median of the pairs' ratios; the bare figure is its median, ours is that part of it. " +
        `MTU ${localMtuBytes} on both local wires, ${tunnelMtuBytes} on both tunnels. The bare VXLAN link ends in the nodes' own namespaces; the ` +
        "connection's ends are in pods.";
      const gate = { of: "ratio", atLeast: 0.95 } as const;
      const rows = [];
      for (const [pair, what, name] of [
        [local, "local connection", "bare veth"],
        [remote, "remote connection", "bare VXLAN"],
      ] as const) {
        const { value, peer } = await compare(pair, pump.gigabitsPerSecond, pairs, progress);
        rows.push({ what, value, unit: "Gbit/s", peer: { name, value: peer }, gate });
      }
      return { name: "throughput", title: "Throughput of a kernel connection", method, rows };
    } finally {
      for (const plane of planes) await plane.close();
      world.end();
    }
  },
};

interface Pair {
  readonly name: string;
  readonly ours: Wire;
  readonly bare: Wire;
}

/**
 * Ours and the bare one right after each other, in turns first. The ratio is the median of the pairs' ratios, because what else
 * the machine does changes slowly and hits both of a pair alike; ours is given as that part of the median of the bare one.
 */
async function compare({ name, ours, bare }: Pair, pump: Pump, pairs: number, progress: (text: string) => void) {
  const measure = ({ from, to, address }: Wire): Promise<number> => pump(from, to, address, secondsPerMeasurement);
  const bares: number[] = [];
  const ratios: number[] = [];
  for (let round = 1; round <= pairs; round++) {
    const oursFirst = round % 2 === 0;
    const first = await measure(oursFirst ? ours : bare);
    const second = await measure(oursFirst ? bare : ours);
    const [own, other] = oursFirst ? [first, second] : [second, first];
    bares.push(other);
    ratios.push(own / other);
    if (round % 5 === 0) progress(`${name}: ${round} of ${pairs} pairs, ratio ${percentile([...ratios], 0.5).toFixed(3)}`);
  }
  const bareMedian = percentile(bares, 0.5);
  return { value: bareMedian * percentile(ratios, 0.5), peer: bareMedian };
}

async function ourLocal(world: BenchWorld, planes: DataPlane[]): Promise<Wire> {
  const [from, to] = [world.namespace("client"), world.namespace("endpoint")];
  const plane = createKernelDataPlane({ stateDir: world.folder(), log: silentLog });
  planes.push(plane);
  await plane.ensure(crossConnect("local", numbered(from, to), { mtuBytes: localMtuBytes }), noSignal);
  return { from, to, address: "172.16.0.0" };
}

async function ourRemote(world: BenchWorld, planes: DataPlane[]): Promise<Wire> {
  const { one, two, address } = nodes(world);
  const [from, to] = [world.namespace("client"), world.namespace("endpoint")];
  const [first, second] = [one, two].map(({ netns }) =>
    withNetns(netns, () => createKernelDataPlane({ stateDir: world.folder(), log: silentLog })),
  );
  if (first === undefined || second === undefined) throw new Error("no data plane");
  planes.push(first, second);
  const ports = numbered(from, to);
  const tunnel = { kind: "vxlan", vni: 77, udpPort: 4789 } as const;
  const [here, there] = [address(1), address(2)];
  const change = { mtuBytes: tunnelMtuBytes };
  await first.ensure(
    crossConnect("a", { client: ports.client, endpoint: { ...tunnel, localAddress: here, remoteAddress: there } }, change),
    noSignal,
  );
  await second.ensure(
    crossConnect("b", { client: { ...tunnel, localAddress: there, remoteAddress: here }, endpoint: ports.endpoint }, change),
    noSignal,
  );
  return { from, to, address: "172.16.0.0" };
}

function bareVeth(world: BenchWorld): Wire {
  const [from, to] = [world.namespace("bare-a"), world.namespace("bare-b")];
  const end = ({ netns }: Namespace) => ({ netns, name: "bare", macAddress: randomMac(), mtuBytes: localMtuBytes });
  from.socket.perform([createVeth(end(from), end(to))]);
  raise(from, "bare", "10.77.0.1/24");
  raise(to, "bare", "10.77.0.2/24");
  return { from, to, address: "10.77.0.2" };
}

function bareVxlan(world: BenchWorld): Wire {
  const { one, two, address } = nodes(world);
  for (const [node, place] of [
    [1, one],
    [2, two],
  ] as const) {
    const tunnel = { vni: 78, udpPort: 4789, localAddress: address(node), remoteAddress: address(node === 1 ? 2 : 1) };
    place.socket.perform([
      createVxlan({ netns: place.netns, name: "bare", macAddress: randomMac(), mtuBytes: tunnelMtuBytes, ...tunnel }),
    ]);
    raise(place, "bare", `10.78.0.${node}/24`);
  }
  return { from: one, to: two, address: "10.78.0.2" };
}

function nodes(world: BenchWorld): ReturnType<typeof twoNodes> {
  return twoNodes({ after: (action) => world.atEnd(action) });
}

function raise({ socket }: Namespace, name: string, address: string): void {
  const index = getLink(socket, name)?.index ?? 0;
  socket.perform([setLink(index, { up: true }), addAddress(index, parsePrefix(address))]);
}
