import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, State } from "../../sdk/gen/connection.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { dataPath, describeWire, joinConnections, type Told } from "./connections.js";
import { findConnection } from "./find.js";

const names = ["client", "nsmgr-1", "forwarder-1", "nsmgr-2", "forwarder-2", "responder"];
const kernel = (name: string) => ({ cls: "LOCAL", type: "KERNEL", parameters: { name } });
const vxlan = {
  cls: "REMOTE",
  type: "VXLAN",
  parameters: { vni: "42", src_ip: "198.18.0.1", dst_ip: "198.18.0.2", dst_port: "4789" },
};

function piece(index: number, mechanism: Connection["mechanism"]): Connection {
  return Connection.fromPartial({
    id: `id-${index}`,
    network_service: "web",
    network_service_endpoint_name: "responder",
    state: State.UP,
    mechanism,
    context: {
      MTU: 1450,
      dns_context: { configs: [{ dns_server_ips: ["172.16.1.1", "172.16.1.2"], search_domains: ["office.example"] }] },
      ip_context: { src_ip_addrs: ["10.0.0.1/32"], dst_ip_addrs: ["10.0.0.0/32"] },
    },
    path: {
      index,
      path_segments: names.map((name, at) => ({
        name,
        id: `id-${at}`,
        expires: timestampOf(60_000),
        metrics: at === 2 ? { rx_bytes: "7" } : {},
      })),
    },
  });
}
const told: Told[] = [
  { source: { kind: "nsmgr", name: "nsmgr-1", node: "node-1", url: "" }, connections: [piece(1, kernel("nsm-1"))] },
  { source: { kind: "nsmgr", name: "nsmgr-2", node: "node-2", url: "" }, connections: [piece(3, vxlan)] },
  { source: { kind: "forwarder", name: "forwarder-1", node: "node-1", url: "" }, connections: [piece(2, kernel("nsm-1"))] },
  { source: { kind: "forwarder", name: "forwarder-2", node: "node-2", url: "" }, connections: [piece(4, vxlan)] },
  { source: { kind: "pod", name: "responder", node: "node-2", url: "" }, connections: [piece(5, kernel("web-0"))] },
];

test("pieces of one connection become one picture, in whatever order they come", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(told, { minLength: told.length }), (shuffled) => {
      const [view, ...others] = joinConnections(shuffled, 0);
      assert.ok(view);
      assert.deepEqual(others, []);
      assert.equal(view.id, "id-0");
      assert.equal(view.clientInterface, "nsm-1");
      assert.deepEqual(view.names, ["office.example by 172.16.1.1, 172.16.1.2"]);
      assert.deepEqual(
        view.hops.map(({ kind }) => kind),
        ["client", "nsmgr", "forwarder", "nsmgr", "forwarder", "endpoint"],
      );
      assert.deepEqual(view.hops[2]?.metrics, { rx_bytes: "7" });
      assert.equal(view.hops[0]?.expiresInMs, 60_000);
      assert.deepEqual(
        dataPath(view).map((wire) => `${wire.from.name} → ${wire.to.name}: ${describeWire(wire)}`),
        [
          "client → forwarder-1: kernel interface nsm-1 in client",
          "forwarder-1 → forwarder-2: VXLAN vni 42, 198.18.0.1 → 198.18.0.2 udp 4789",
          "forwarder-2 → responder: kernel interface web-0 in responder",
        ],
      );
    }),
  );
});

test("a piece that an earlier path has left behind is told apart", () => {
  const old = { ...piece(5, kernel("old")), id: "id-old" };
  const [view] = joinConnections(
    [...told, { source: { kind: "pod", name: "dead", node: "node-1", url: "" }, connections: [old] }],
    0,
  );
  assert.equal(view?.hops.length, 6);
  assert.deepEqual(view?.stale, [{ name: "dead", id: "id-old" }]);
});

test("connections are found by any hop's id, its beginning, or the client's name", () => {
  const views = joinConnections(told, 0);
  for (const wanted of ["id-0", "id-4", "id", "client"]) assert.equal(findConnection(views, wanted).id, "id-0");
  assert.throws(() => findConnection(views, "other"), { message: /no connection "other"; there are id-0 \(client → web\)/ });
  assert.throws(() => findConnection([], "x"), { message: /there are none/ });
  const twin = views.map((view) => ({ ...view, id: "id-9", hops: view.hops.map((hop) => ({ ...hop, id: `${hop.id}9` })) }));
  assert.throws(() => findConnection([...views, ...twin], "client"), { message: /fits 2 connections/ });
});

test("hostile paths make no picture fail", () => {
  const mechanism = fc.record({
    cls: fc.string(),
    type: fc.constantFrom("KERNEL", "VXLAN", "x"),
    parameters: fc.dictionary(fc.string(), fc.string()),
  });
  const segment = fc.record({ name: fc.string(), id: fc.string(), metrics: fc.dictionary(fc.string(), fc.string()) });
  const connection = fc.record({
    id: fc.string(),
    state: fc.integer(),
    mechanism: fc.option(mechanism, { nil: undefined }),
    path: fc.option(fc.record({ index: fc.nat(), path_segments: fc.array(segment) }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(connection), (connections) => {
      const source = { kind: "nsmgr" as const, name: "n", node: "", url: "" };
      for (const view of joinConnections(
        [{ source, connections: connections.map((each) => Connection.fromPartial(each as Partial<Connection>)) }],
        0,
      )) {
        for (const wire of dataPath(view)) assert.equal(typeof describeWire(wire), "string");
      }
    }),
  );
});
