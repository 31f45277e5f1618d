/** One node: client → manager → forwarder → endpoint, over real sockets. */
import assert from "node:assert/strict";
import { type ConnectionEvent, ConnectionEventType, MonitorScopeSelector, State } from "../../sdk/gen/connection.js";
import { Code } from "../../sdk/status.js";
import { timestampMs } from "../../sdk/timestamp.js";
import { names, startMesh, withLifetime } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

testShapes(
  "row 1.1: a request on one node passes manager, forwarder and endpoint and brings addresses back",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    const endpoint = await node.serve({ name: "nse-1" });
    const connection = await mesh.request("n1", { service: "service", id: "c1", labels: { colour: "blue" } });
    assert.deepEqual(names(connection), ["client", "nsmgr-n1", "forwarder-n1", "nse-1"]);
    assert.equal(connection.id, "c1");
    assert.equal(connection.path?.index, 0);
    assert.equal(connection.network_service_endpoint_name, "nse-1");
    assert.equal(connection.state, State.UP);
    assert.equal(connection.mechanism?.type, "KERNEL");
    assert.equal(connection.context?.ip_context?.src_ip_addrs.length, 1);
    assert.equal(connection.labels["nodeName"], "n1");
    for (const segment of connection.path?.path_segments ?? []) assert.ok(segment.expires, `${segment.name} has no expiry`);
    assert.equal(endpoint.connections.length, 1);
    await mesh.close("n1", connection);
    assert.equal(endpoint.connections.length, 0);
    assert.deepEqual(await node.connections(), []);
  },
);

testShapes("row 1.28: a refresh keeps ids, addresses and endpoint, and moves the expiry of every hop", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await mesh.node("n1").serve({ name: "nse-1" });
  const first = await mesh.request("n1", { service: "service" });
  const second = await mesh.refresh("n1", first);
  assert.deepEqual(
    second.path?.path_segments.map(({ name, id }) => [name, id]),
    first.path?.path_segments.map(({ name, id }) => [name, id]),
  );
  assert.deepEqual(second.context?.ip_context?.src_ip_addrs, first.context?.ip_context?.src_ip_addrs);
  for (const [index, segment] of (second.path?.path_segments ?? []).entries()) {
    const before = first.path?.path_segments[index]?.expires;
    assert.ok(segment.expires && before && timestampMs(segment.expires) >= timestampMs(before));
  }
});

testShapes("row 1.30: Close may be repeated, by anybody, and leaves nothing at any hop", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const connection = await mesh.request("n1", { service: "service" });
  await mesh.close("n1", connection);
  await mesh.close("n1", connection);
  await mesh.close("n1", { ...connection, id: "never-seen", path: undefined });
  assert.equal(endpoint.connections.length, 0);
  assert.deepEqual(await node.connections(), []);
  const again = await mesh.request("n1", { service: "service" });
  assert.deepEqual(again.context?.ip_context?.src_ip_addrs, connection.context?.ip_context?.src_ip_addrs);
});

testShapes(
  "row 1.29: the connection of a client that died without a word goes at every hop when its token expires",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    const endpoint = await node.serve({ name: "nse-1" });
    const short = await mesh.request("n1", { service: "service", lifetimeMs: 3_000 });
    const kept = await mesh.request("n1", { service: "service", lifetimeMs: 3_000 });
    await mesh.refresh("n1", withLifetime(kept, 600_000));
    await until("the dead client's connection is gone", async () => (await node.connections()).length === 1);
    assert.equal((await node.connections())[0]?.path?.path_segments[0]?.id, kept.id);
    assert.notEqual(short.id, kept.id);
    await until("the endpoint has its address back", () => endpoint.connections.length === 1);
  },
);

testShapes(
  "row 1.31: a monitor sees the state at once, then changes, of what its filter selects and of nothing else",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    await node.serve({ name: "nse-1" });
    await mesh.request("n1", { service: "service", id: "before", client: "alice" });
    await mesh.request("n1", { service: "service", id: "other", client: "bob" });
    const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ name: "alice" }] });
    const stream = mesh.dialer.monitor(node.url, selector, mesh.signal)[Symbol.asyncIterator]();
    const next = async (): Promise<[ConnectionEventType, string[]]> => {
      const event = (await stream.next()).value as ConnectionEvent;
      return [event.type, Object.values(event.connections).map(({ path }) => path?.path_segments[0]?.id ?? "")];
    };
    assert.deepEqual(await next(), [ConnectionEventType.INITIAL_STATE_TRANSFER, ["before"]]);
    await mesh.request("n1", { service: "service", client: "bob" });
    const later = await mesh.request("n1", { service: "service", id: "later", client: "alice" });
    assert.deepEqual(await next(), [ConnectionEventType.UPDATE, ["later"]]);
    await mesh.refresh("n1", later);
    assert.deepEqual(await next(), [ConnectionEventType.UPDATE, ["later"]]);
    await mesh.close("n1", later);
    assert.deepEqual(await next(), [ConnectionEventType.DELETE, ["later"]]);
  },
);

testShapes("row 1.31: an event shows the connection as the manager has it: its own id, index 1", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  await node.serve({ name: "nse-1" });
  const connection = await mesh.request("n1", { service: "service", id: "c1" });
  const [seen] = await node.connections();
  assert.equal(seen?.path?.index, 1);
  assert.equal(seen?.id, connection.path?.path_segments[1]?.id);
});

testShapes("row 1.27: labels of the request reach the endpoint", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const endpoint = await mesh.node("n1").serve({ name: "nse-1" });
  await mesh.request("n1", { service: "service", labels: { tenant: "a", "odd key": "{{.x}}" } });
  const [served] = endpoint.connections;
  assert.equal(served?.connection.labels["tenant"], "a");
  assert.equal(served?.connection.labels["odd key"], "{{.x}}");
});

testShapes(
  "the manager explains a connection: the endpoint and the forwarder, with the rule that chose each",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    await node.addForwarder("bridge", "p2mp:true");
    await mesh.registerService({
      name: "service",
      payload: "ETHERNET",
      matches: [{ routes: [{ destination_selector: { colour: "blue" } }], metadata: { labels: { p2mp: "true" } } }],
    });
    for (const colour of ["blue", "green"]) await node.serve({ name: colour, labels: { colour } });
    const connection = await mesh.request("n1", { service: "service" });
    const connection_id = connection.path?.path_segments[1]?.id ?? "";
    const { component, decisions } = await mesh.dialer.inspect(node.url).explain({ connection_id }, { signal: mesh.signal });
    assert.equal(component, "nsmgr-n1");
    assert.deepEqual(decisions.map(({ step, candidate, verdict }) => `${step}: ${candidate} ${verdict}`).sort(), [
      "choose-endpoint: blue CHOSEN",
      "choose-endpoint: green REFUSED",
      "choose-forwarder: bridge CHOSEN",
      "choose-forwarder: forwarder-n1 REFUSED",
    ]);
    assert.ok(decisions.every(({ rule }) => rule !== ""));
  },
);

testShapes("row 7.3: an endpoint that dies makes its connections DOWN for who watches the manager", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const connection = await mesh.request("n1", { service: "service", id: "c1" });
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ id: "c1" }] });
  const stream = mesh.dialer.monitor(node.url, selector, mesh.signal)[Symbol.asyncIterator]();
  await stream.next();
  await endpoint.close();
  for (;;) {
    const event = (await stream.next()).value as ConnectionEvent;
    const state = Object.values(event.connections)[0]?.state;
    if (state === State.DOWN || event.type === ConnectionEventType.DELETE) break;
  }
  await assert.rejects(mesh.refresh("n1", connection), (error: { code: Code }) =>
    [Code.UNAVAILABLE, Code.NOT_FOUND].includes(error.code as typeof Code.UNAVAILABLE),
  );
});
