/** Planned moves: a second connection beside the first one, the old one given back only after packets pass on the new. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Connection, State } from "../gen/connection.js";
import { ConnectionContext } from "../gen/connectioncontext.js";
import { Code, statusError } from "../status.js";
import { listenTo, start } from "../testing/scripted-client.js";
import { grant, type ScriptedNodeManager, startScriptedNodeManager } from "../testing/scripted-node-manager.js";
import { until } from "../testing/until.js";

const url = "kernel://icmp-responder/nsm-1";

/** Every connection gets another endpoint, with addresses of its own. */
function grantAnother(node: ScriptedNodeManager): void {
  const places = new Map<string, number>();
  node.answer = (request) => {
    const id = request.connection?.id ?? "";
    if (!places.has(id)) places.set(id, places.size + 1);
    const place = places.get(id);
    const ip_context = { src_ip_addrs: [`10.0.${place}.1/32`], dst_ip_addrs: [`10.0.${place}.2/32`] };
    return grant(request, {
      network_service_endpoint_name: `nse-${place}`,
      context: ConnectionContext.fromPartial({ ip_context }),
    });
  };
}

test("row 7.15: told to move: the new path is asked for under another id and name, probed, and only then is the old one given back", async (t) => {
  const node = await startScriptedNodeManager(t);
  grantAnother(node);
  const probed: [string, string | undefined][] = [];
  const connection = await start(t, node, {
    url,
    id: "c-1",
    lingerMs: 20,
    livenessIntervalMs: 5,
    liveness: async ({ network_service_endpoint_name: name }, { interfaceName }) => {
      if (interfaceName !== undefined) probed.push([name, interfaceName]);
      return true;
    },
  });
  await until("the stream", () => node.watchers() === 1);
  const heard = listenTo(connection);
  node.report("c-1", State.RESELECT_REQUESTED);
  const healed = await until("the move", () => heard.find((change) => change.kind === "healed"));
  assert.equal(healed.kind === "healed" && healed.how, "beside");
  assert.equal(connection.connection.network_service_endpoint_name, "nse-2");
  const asked = node.requests.find(({ connection }) => connection?.id === "c-1-b");
  const name = asked?.mechanism_preferences[0]?.parameters["name"];
  assert.ok(name !== undefined && name !== "nsm-1");
  assert.notEqual(asked?.connection?.state, State.RESELECT_REQUESTED);
  assert.deepEqual(probed, [["nse-2", name]]);
  await until("the old path is given back", () => node.closes.length === 1);
  assert.equal(node.closes[0]?.id, "c-1");
  await until("the interface has its name back", () => connection.interfaceName === "nsm-1");
  assert.equal(connection.connection.id, "c-1-b");
  assert.equal(connection.id, "c-1");

  // and once more, to the first id
  node.report("c-1-b", State.RESELECT_REQUESTED);
  await until("the second move", () => connection.connection.id === "c-1");
  await until("the second old path is given back", () => node.closes.length === 2);
  await until("its name again", () => connection.interfaceName === "nsm-1");
  await connection.close();
  assert.deepEqual(
    node.closes.map(({ id }) => id),
    ["c-1", "c-1-b", "c-1"],
  );
  assert.equal(node.held.size, 0, "nothing is left");
});

test("row 7.15: the close of the old path that nobody heard is tried again: until then the interface is not free", async (t) => {
  const node = await startScriptedNodeManager(t);
  grantAnother(node);
  let inVain = 2;
  node.onClose = () => {
    if (inVain-- > 0) throw statusError(Code.UNAVAILABLE, "the forwarder is away");
  };
  const connection = await start(t, node, { url, id: "c-1", lingerMs: 10, livenessIntervalMs: 5, liveness: async () => true });
  await until("the stream", () => node.watchers() === 1);
  node.report("c-1", State.RESELECT_REQUESTED);
  await until("the third close", () => node.closes.length === 3);
  assert.ok(node.closes.every(({ id }) => id === "c-1"));
  await until("the interface has its name back", () => connection.interfaceName === "nsm-1");
  assert.deepEqual([...node.held.keys()], ["c-1-b"]);
});

test("row 7.15: no packet on the new path: it is given back, the old one stays, and it is tried again", async (t) => {
  const node = await startScriptedNodeManager(t);
  grantAnother(node);
  let passes = false;
  const connection = await start(t, node, {
    url,
    id: "c-1",
    lingerMs: 10,
    livenessIntervalMs: 5,
    livenessTimeoutMs: 20,
    liveness: async ({ id }) => id === "c-1" || passes,
  });
  await until("the stream", () => node.watchers() === 1);
  node.report("c-1", State.RESELECT_REQUESTED);
  await until("two tries", () => node.closes.length >= 2);
  assert.ok(node.closes.every(({ id }) => id === "c-1-b"));
  assert.equal(connection.connection.id, "c-1");
  passes = true;
  await until("the move", () => connection.connection.id === "c-1-b");
});

test("row 7.15: nowhere to go: the living path stays until it dies, and is refreshed meanwhile", async (t) => {
  const node = await startScriptedNodeManager(t);
  let alive = true;
  node.answer = ({ connection, ...request }) => {
    if (connection?.id === "c-1-b") throw statusError(Code.NOT_FOUND, "no other endpoint");
    const reselect = connection?.state === State.RESELECT_REQUESTED;
    return grant({ connection, ...request }, reselect ? { network_service_endpoint_name: "nse-2" } : {});
  };
  const connection = await start(t, node, {
    url,
    id: "c-1",
    livenessIntervalMs: 5,
    livenessTimeoutMs: 20,
    liveness: async () => alive,
  });
  await until("the stream", () => node.watchers() === 1);
  node.report("c-1", State.RESELECT_REQUESTED);
  await until("three tries", () => node.requests.filter(({ connection }) => connection?.id === "c-1-b").length >= 3);
  assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
  assert.equal(node.closes.length, 0);
  alive = false;
  setTimeout(() => {
    alive = true;
  }, 100);
  await until("another endpoint", () => connection.connection.network_service_endpoint_name === "nse-2");
});

test("row 7.15: a restarted client finds its connection under the id that a move has given it", async (t) => {
  const node = await startScriptedNodeManager(t);
  node.held.set("c-1-b", heldAfterMove());
  const connection = await start(t, node, { url, id: "c-1", name: "client-1", liveness: false });
  assert.equal(connection.connection.id, "c-1-b");
  await until("it is refreshed with its own interface name", () => connection.interfaceName === "nsm-1");
  assert.equal(node.requests[0]?.connection?.id, "c-1-b");
  await connection.close();
  assert.deepEqual(
    node.closes.map(({ id }) => id),
    ["c-1-b"],
  );
});

function heldAfterMove(): Connection {
  const request = { connection: { id: "c-1-b", network_service: "icmp-responder" } };
  const mechanism = { cls: "LOCAL", type: "KERNEL", parameters: { name: "move-1" } };
  const path = { index: 0, path_segments: [{ name: "client-1", id: "c-1-b" }] };
  return grant({ connection: { ...request.connection, path }, mechanism_preferences: [mechanism] } as never);
}
