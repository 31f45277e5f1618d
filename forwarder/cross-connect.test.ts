import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, type CallContext, type Handler } from "../sdk/chain.js";
import { manualClock } from "../sdk/clock.js";
import { expire } from "../sdk/elements/expire.js";
import { serialize } from "../sdk/elements/serialize.js";
import { Connection, type Mechanism } from "../sdk/gen/connection.js";
import type { ConnectionContext } from "../sdk/gen/connectioncontext.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { kernelMechanism } from "../sdk/mechanisms/kernel.js";
import { noopMechanism } from "../sdk/mechanisms/noop.js";
import { withParameters } from "../sdk/mechanisms/parameters.js";
import { createMonitorHub } from "../sdk/monitor/hub.js";
import { enterHop, leaveHop } from "../sdk/path.js";
import { Code, statusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { timestampOf } from "../sdk/timestamp.js";
import { forwarderChain } from "./chain.js";
import { createConnections } from "./connections.js";
import { mechanismKinds } from "./mechanism-kinds.js";
import { type RecordingDataPlane, recordingDataPlane } from "./recording-data-plane.js";
import { createVniPool } from "./vni.js";

const pair: Partial<ConnectionContext> = {
  ip_context: {
    ...{ src_ip_required: false, dst_ip_required: false, excluded_prefixes: [], ip_neighbors: [], policies: [] },
    ...{ extra_prefix_request: [], extra_prefixes: [] },
    src_ip_addrs: ["172.16.1.101/32"],
    dst_ip_addrs: ["172.16.1.100/32"],
    src_routes: [{ prefix: "172.16.1.100/32", nextHop: "" }],
    dst_routes: [{ prefix: "172.16.1.101/32", nextHop: "" }],
  },
};

test("row 1.1: a local connection joins the client's namespace and the endpoint's", async () => {
  const mesh = await createMesh();
  const answer = await mesh.request("a", "local");
  assert.equal(answer.mechanism?.type, "KERNEL");
  assert.deepEqual(answer.mechanism?.parameters, { inodeURL: "file:///run/netns/wt-client", name: "nsm-1" });
  const [built] = mesh.a.plane.built.values();
  assert.ok(built?.client.kind === "kernel" && built.endpoint.kind === "kernel");
  assert.equal(built.client.netnsUrl, "file:///run/netns/wt-client");
  assert.deepEqual(built.client.addresses, ["172.16.1.101/32"]);
  assert.deepEqual(built.endpoint.addresses, ["172.16.1.100/32"]);
  assert.equal(built.endpoint.interfaceName, "nse-if");
  assert.equal(built.mtuBytes, 1500);
  assert.equal(answer.context?.MTU, 1500);
  assert.equal(built.client.alias, "server-client-1");
  await mesh.close("a", answer);
  assert.equal(mesh.a.plane.built.size, 0);
  assert.deepEqual([...mesh.endpoint.open], []);
});

test("rows 1.2, 1.24: between nodes both forwarders build one VNI, and the MTU is equal at all ends", async () => {
  const mesh = await createMesh();
  mesh.b.plane.underlayMtu = 1400;
  const answer = await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  const [far] = mesh.b.plane.built.values();
  assert.ok(near?.client.kind === "kernel" && near.endpoint.kind === "vxlan");
  assert.ok(far?.client.kind === "vxlan" && far.endpoint.kind === "kernel");
  assert.equal(near.endpoint.vni, far.client.vni);
  assert.equal(near.endpoint.vni % 2, 0, "the lower address asks: the other side chooses an even number");
  assert.deepEqual([near.endpoint.localAddress, near.endpoint.remoteAddress], ["198.18.0.1", "198.18.0.2"]);
  assert.deepEqual([far.client.localAddress, far.client.remoteAddress], ["198.18.0.2", "198.18.0.1"]);
  assert.deepEqual([near.mtuBytes, far.mtuBytes, answer.context?.MTU], [1346, 1346, 1346]);
  await mesh.close("a", answer);
  assert.equal(mesh.a.plane.built.size + mesh.b.plane.built.size, 0);
});

test("row 1.23: another UDP port is used by both; different ones are refused with the setting's name", async () => {
  const mesh = await createMesh({ vxlanPort: { a: 8472, b: 8472 } });
  await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && near.endpoint.udpPort === 8472);
  const uneven = await createMesh({ vxlanPort: { a: 8472, b: 4789 } });
  await assert.rejects(uneven.request("a", "remote"), { code: Code.FAILED_PRECONDITION, details: /NSM_VXLAN_PORT/ });
});

test("row 1.5: the order of NSM_MECHANISM_PRIORITY is the order of the proposals", async () => {
  for (const [priority, first] of [
    [["MEMIF", "KERNEL"], "MEMIF"],
    [["KERNEL"], "KERNEL"],
    [[], "KERNEL"],
  ] as const) {
    const mesh = await createMesh({ priority, none: true });
    await mesh.request("a", "local");
    assert.equal(mesh.endpoint.asked.at(-1)?.[0]?.type, first);
    assert.ok(
      mesh.endpoint.asked.at(-1)?.every(({ cls }) => cls === "LOCAL"),
      "only what reaches this node is proposed",
    );
  }
});

test("a refresh keeps mechanism and VNI, sends no proposals, and changes what the context says", async () => {
  const mesh = await createMesh();
  const first = await mesh.request("a", "remote");
  const vni = (await mesh.b.plane.usedVnis(4789)).values().next().value;
  mesh.endpoint.context = { ip_context: { ...ip(), src_ip_addrs: ["172.16.1.103/32"] }, MTU: 1300 };
  const second = await mesh.request("a", "remote", { connection: first });
  assert.deepEqual(mesh.endpoint.asked.at(-1), []);
  assert.equal(second.id, first.id);
  assert.equal((await mesh.b.plane.usedVnis(4789)).values().next().value, vni);
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.client.kind === "kernel");
  assert.deepEqual(near.client.addresses, ["172.16.1.103/32"]);
  assert.equal(near.mtuBytes, 1300);
  assert.equal(near.generation, 2);
});

test("a VNI that is taken on the asking node is given back and negotiated anew", async () => {
  const mesh = await createMesh({ random: [givesVni2, 0.5] });
  mesh.a.plane.foreignVnis.add(2);
  mesh.a.plane.refuse = ({ endpoint }) => {
    if (endpoint.kind === "vxlan" && endpoint.vni === 2) throw statusError(Code.ALREADY_EXISTS, "create vxlan vni=2: EEXIST");
  };
  const answer = await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  const [far] = mesh.b.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && far?.client.kind === "vxlan");
  assert.notEqual(near.endpoint.vni, 2);
  assert.equal(near.endpoint.vni, far.client.vni);
  assert.equal(mesh.endpoint.closes, 1, "the first try was closed");
  await mesh.close("a", answer);
  assert.equal(mesh.b.plane.built.size, 0);
});

test("a VNI that is taken on the answering node is replaced there", async () => {
  const mesh = await createMesh({ random: [givesVni2, 0.5] });
  mesh.b.plane.refuse = ({ client }) => {
    if (client.kind === "vxlan" && client.vni === 2) {
      mesh.b.plane.foreignVnis.add(2);
      throw statusError(Code.ALREADY_EXISTS, "create vxlan vni=2: EEXIST");
    }
  };
  await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && near.endpoint.vni !== 2);
  assert.deepEqual([...mesh.b.plane.foreignVnis], [2], "the collision has happened");
});

test("two connections of one node never get one VNI, even when chance repeats itself", async () => {
  const mesh = await createMesh({ random: [0] });
  const vnis = new Set<number>();
  for (let i = 0; i < 5; i++) {
    await mesh.request("a", "remote", { id: `client-${i}` });
  }
  for (const { endpoint } of mesh.a.plane.built.values()) if (endpoint.kind === "vxlan") vnis.add(endpoint.vni);
  assert.equal(vnis.size, 5);
});

test("payload IP between nodes is refused with the reason, and works on one node", async () => {
  const mesh = await createMesh();
  await mesh.request("a", "local", { payload: "IP" });
  await assert.rejects(mesh.request("a", "remote", { payload: "IP", id: "client-2" }), {
    code: Code.FAILED_PRECONDITION,
    details: /payload IP needs WIREGUARD between nodes/,
  });
  assert.equal(mesh.b.plane.built.size, 0);
});

test("what fails first leaves nothing, what fails on refresh keeps what was", async () => {
  const mesh = await createMesh();
  mesh.a.plane.refuse = () => {
    throw statusError(Code.NOT_FOUND, "namespace has gone");
  };
  await assert.rejects(mesh.request("a", "remote"), { code: Code.NOT_FOUND });
  assert.equal(mesh.b.plane.built.size, 0, "the far side was closed");
  assert.deepEqual([...mesh.endpoint.open], []);
  mesh.a.plane.refuse = () => {};
  const answer = await mesh.request("a", "remote");
  mesh.a.plane.refuse = () => {
    throw statusError(Code.UNAVAILABLE, "out of luck");
  };
  await assert.rejects(mesh.request("a", "remote", { connection: answer }), { code: Code.UNAVAILABLE });
  assert.equal(mesh.a.plane.built.size, 1);
  assert.equal(mesh.b.plane.built.size, 1);
});

test("a connection that moves to another endpoint is closed where it was", async () => {
  const mesh = await createMesh();
  const first = await mesh.request("a", "remote");
  assert.equal(mesh.b.plane.built.size, 1);
  const second = await mesh.request("a", "local", { connection: { ...first, network_service_endpoint_name: "nse-local" } });
  assert.equal(mesh.b.plane.built.size, 0);
  assert.deepEqual([...mesh.endpoint.open], ["nse-local"]);
  assert.equal(second.network_service_endpoint_name, "nse-local");
});

test("the first preference that works wins; none is refused with the reason for each", async () => {
  const mesh = await createMesh();
  const memif: Mechanism = { cls: "LOCAL", type: "MEMIF", parameters: {} };
  const answer = await mesh.request("a", "local", { preferences: [memif, kernel()] });
  assert.equal(answer.mechanism?.type, "KERNEL");
  const bad = withParameters(kernel(), { inodeURL: undefined });
  await assert.rejects(mesh.request("a", "local", { id: "client-2", preferences: [memif, bad] }), {
    code: Code.FAILED_PRECONDITION,
    details: /MEMIF is not available here.*inodeURL/,
  });
  await assert.rejects(mesh.request("a", "local", { id: "client-3", preferences: [] }), { code: Code.INVALID_ARGUMENT });
  await assert.rejects(mesh.request("a", "local", { id: "client-4", preferences: [bad] }), { code: Code.INVALID_ARGUMENT });
});

test("NOOP is joined to NOOP only", async () => {
  const mesh = await createMesh();
  const answer = await mesh.request("a", "local", { preferences: [noopMechanism("LOCAL")] });
  assert.equal(answer.mechanism?.type, "NOOP");
  assert.deepEqual(
    mesh.endpoint.asked.at(-1)?.map(({ type }) => type),
    ["NOOP"],
  );
});

test("row 1.25: a client that names no interface gets a valid name, the same on refresh", async () => {
  const mesh = await createMesh();
  const answer = await mesh.request("a", "local", { preferences: [withParameters(kernel(), { name: undefined })] });
  const name = answer.mechanism?.parameters["name"] ?? "";
  assert.match(name, /^icmp-respo-[0-9A-Za-z]{4}$/);
  const again = await mesh.request("a", "local", { connection: answer });
  assert.equal(again.mechanism?.parameters["name"], name);
});

test("row 10.2: counters and interfaces stand in the forwarder's path segment", async () => {
  const mesh = await createMesh();
  mesh.a.plane.counted = { rxBytes: 1n, txBytes: 2n, rxPackets: 3n, txPackets: 4n, drops: 5n };
  const answer = await mesh.request("a", "local");
  const metrics = answer.path?.path_segments[1]?.metrics;
  assert.equal(metrics?.["server_interface"], "KERNEL/nsm-1");
  assert.equal(metrics?.["client_interface"], "KERNEL/nse-if");
  assert.deepEqual(
    ["server_rx_bytes", "server_tx_bytes", "client_rx_packets", "client_tx_packets", "server_drops"].map((key) => metrics?.[key]),
    ["2", "1", "3", "4", "5"],
  );
});

test("an endpoint that is not registered is NOT_FOUND; an answer that makes no sense is FAILED_PRECONDITION", async () => {
  const mesh = await createMesh();
  await assert.rejects(mesh.request("a", "nobody"), { code: Code.NOT_FOUND, details: /nse-nobody.*not registered/ });
  mesh.endpoint.mechanism = { cls: "LOCAL", type: "SRV6", parameters: {} };
  await assert.rejects(mesh.request("a", "local"), { code: Code.FAILED_PRECONDITION, details: /SRV6/ });
  mesh.endpoint.mechanism = { cls: "LOCAL", type: "KERNEL", parameters: {} };
  await assert.rejects(mesh.request("a", "local"), { code: Code.FAILED_PRECONDITION, details: /nse-local.*inodeURL/ });
  assert.equal(mesh.a.plane.built.size, 0);
});

// Helpers: two forwarders "a" and "b" on two nodes; "b" has the endpoint of the remote connections.

const ip = (): NonNullable<ConnectionContext["ip_context"]> => pair.ip_context as NonNullable<ConnectionContext["ip_context"]>;
/** A random number from which the pool makes VNI 2. */
const givesVni2 = 1.5 / 2 ** 23;
const kernel = (): Mechanism => kernelMechanism({ netnsUrl: "file:///run/netns/wt-client", interfaceName: "nsm-1" });

interface MeshOptions {
  readonly vxlanPort?: { a: number; b: number };
  readonly priority?: readonly string[];
  readonly random?: readonly number[];
  readonly none?: boolean;
}

interface Asking {
  readonly connection?: Connection;
  readonly id?: string;
  readonly payload?: string;
  readonly preferences?: readonly Mechanism[];
}

async function createMesh(options: MeshOptions = {}) {
  const clock = manualClock(1_000_000);
  const signal = new AbortController().signal;
  const call: CallContext = backgroundCall(signal);
  const endpoint = createEndpoint();
  const handlers = new Map<string, Handler<ConnectionApi>>([["unix:///nse", endpoint]]);
  const dialer = {
    connections: (url: string) => {
      const handler = handlers.get(url);
      if (handler === undefined) throw statusError(Code.UNAVAILABLE, `nobody at ${url}`);
      return {
        request: (request: Parameters<Handler<ConnectionApi>["request"]>[0]) => handler.request(request, call),
        close: (connection: Connection) => handler.close(connection, call),
      };
    },
  };
  const numbers = [...(options.random ?? [])];
  const random = () => (numbers.length > 1 ? (numbers.shift() ?? 0) : (numbers[0] ?? Math.random()));

  async function forwarder(name: "a" | "b", urls: Record<string, string>) {
    const recorded: RecordingDataPlane = recordingDataPlane();
    const plane: RecordingDataPlane = options.none
      ? Object.assign(recorded, {
          name: "none",
          mechanisms: async () => ["KERNEL", "MEMIF", "VXLAN", "WIREGUARD", "IPSEC"] as const,
        })
      : recorded;
    const vnis = createVniPool(random);
    const tunnelAddress = name === "a" ? "198.18.0.1" : "198.18.0.2";
    const kinds = await mechanismKinds({ dataPlane: plane, vnis, tunnelAddress, udpPort: options.vxlanPort?.[name] ?? 4789 });
    const handler = forwarderChain({
      name: `forwarder-${name}`,
      clock,
      log: silentLog,
      observer: undefined,
      maxTokenLifetimeMs: 600_000,
      serialize: serialize({ log: silentLog }),
      expire: expire(clock),
      watchers: createMonitorHub(),
      endpoints: {
        async *find({ name }) {
          const url = urls[name];
          if (url !== undefined) yield { entry: NetworkServiceEndpoint.fromPartial({ name, url }), deleted: false };
        },
      },
      dialer,
      dataPlane: plane,
      kinds,
      connections: createConnections(),
      vnis,
      mechanismPriority: options.priority ?? [],
    });
    return { plane, handler };
  }

  const a = await forwarder("a", { "nse-local": "unix:///nse", "nse-remote": "tcp://198.18.0.2:5001" });
  const b = await forwarder("b", { "nse-remote": "unix:///nse" });
  handlers.set("tcp://198.18.0.2:5001", b.handler);

  return {
    a,
    b,
    endpoint,
    close: (name: "a" | "b", connection: Connection) => ({ a, b })[name].handler.close(connection, call),
    request(name: "a" | "b", to: string, asking: Asking = {}): Promise<Connection> {
      const id = asking.id ?? "client-1";
      const fresh = Connection.fromPartial({
        id,
        network_service: "icmp-responder",
        network_service_endpoint_name: `nse-${to}`,
        payload: asking.payload ?? "ETHERNET",
        path: { index: 0, path_segments: [{ name: "client", id, expires: timestampOf(clock.nowMs() + 60_000) }] },
      });
      const connection = asking.connection ?? fresh;
      const mechanism_preferences = [...(asking.preferences ?? [kernel()])];
      return { a, b }[name].handler.request({ connection, mechanism_preferences }, call);
    },
  };
}

/** An endpoint that answers with KERNEL if it is proposed. */
function createEndpoint() {
  const open = new Set<string>();
  const endpoint = {
    open,
    closes: 0,
    asked: [] as Mechanism[][],
    context: pair as Partial<ConnectionContext>,
    mechanism: undefined as Mechanism | undefined,
    async request({ connection, mechanism_preferences }: Parameters<Handler<ConnectionApi>["request"]>[0]) {
      assert.ok(connection);
      endpoint.asked.push(mechanism_preferences);
      const hop = enterHop(connection, connection.network_service_endpoint_name, () => `nse-${open.size}-id`);
      const chosen = connection.mechanism ?? mechanism_preferences[0];
      const mechanism =
        endpoint.mechanism ??
        (chosen?.type === "KERNEL" ? withParameters(chosen, { inodeURL: "file:///run/netns/wt-nse", name: "nse-if" }) : chosen);
      open.add(connection.network_service_endpoint_name);
      const context = { ...hop.connection.context, ...endpoint.context } as ConnectionContext;
      return leaveHop({ ...hop.connection, mechanism, context }, hop);
    },
    async close(connection: Connection) {
      endpoint.closes++;
      open.delete(connection.network_service_endpoint_name);
    },
  };
  return endpoint;
}
