import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConnectionApi, MechanismType } from "../api.js";
import { backgroundCall, chain, type Handler } from "../chain.js";
import { enterPath } from "../elements/enter-path.js";
import type { HasNextHop } from "../elements/forward.js";
import { serialize } from "../elements/serialize.js";
import { undo } from "../elements/undo.js";
import { Connection, type Mechanism, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { makeMechanism } from "../mechanisms/parameters.js";
import { withSegment } from "../path.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { standBetween } from "./stand-between.js";
import { tellOwnerOfWire, type Wire } from "./tell-owner-of-wire.js";

const call = backgroundCall(new AbortController().signal);
const clientMechanism = makeMechanism("LOCAL", MechanismType.KERNEL, { name: "in-1", inodeURL: "inode://4/1" });

test("row 2.9: labels, service, mechanism and endpoint are ours towards the next function, the client's towards the client", async () => {
  const { handler, asked } = start({ service: "inner" });
  const answer = await handler.request(request(), call);
  const [out] = asked;
  assert.equal(out?.connection?.network_service, "inner");
  assert.deepEqual(out?.connection?.labels, { app: "wire" });
  assert.equal(out?.connection?.network_service_endpoint_name, "");
  assert.equal(out?.connection?.mechanism, undefined);
  assert.equal(out?.mechanism_preferences[0]?.parameters["unnumbered"], "true");
  assert.equal(answer.network_service, "outer");
  assert.deepEqual(answer.labels, { app: "client" });
  assert.equal(answer.network_service_endpoint_name, "wire-1");
  assert.deepEqual(answer.mechanism?.parameters, clientMechanism.parameters);
  assert.deepEqual(answer.context?.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
});

test("row 2.9: a refresh names the endpoint and the mechanism that were granted, a reselect forgets them", async () => {
  const { handler, asked } = start({});
  const first = await handler.request(request(), call);
  await handler.request(request(first), call);
  assert.equal(asked[1]?.connection?.network_service_endpoint_name, "nse-1");
  assert.equal(asked[1]?.connection?.mechanism?.parameters["name"], asked[0]?.mechanism_preferences[0]?.parameters["name"]);
  await handler.request(request({ ...first, state: State.RESELECT_REQUESTED }), call);
  assert.equal(asked[2]?.connection?.network_service_endpoint_name, "");
  assert.equal(asked[2]?.connection?.mechanism, undefined);
});

test("row 2.9: a function that was restarted reads the next endpoint from the path, if the path can say it", async () => {
  const { handler, asked } = start({});
  const first = await handler.request(request(), call);
  const after = start({});
  await after.handler.request(request(first), call);
  assert.equal(after.asked[0]?.connection?.network_service_endpoint_name, "nse-1");
  assert.equal(
    asked[0]?.mechanism_preferences[0]?.parameters["name"],
    after.asked[0]?.mechanism_preferences[0]?.parameters["name"],
  );
});

test("row 2.9: Close goes on in the next function's terms", async () => {
  const { handler, closed } = start({ service: "inner" });
  const answer = await handler.request(request(), call);
  await handler.close(answer, call);
  assert.deepEqual(
    closed.map(({ network_service, network_service_endpoint_name }) => [network_service, network_service_endpoint_name]),
    [["inner", "nse-1"]],
  );
});

test("row 2.9: the author hears of each pair once, again after a reselect, and of its end", async () => {
  const wires: Wire[] = [];
  const { handler } = start({ onWire: (wire) => void wires.push(wire) });
  const first = await handler.request(request(), call);
  await handler.request(request(first), call);
  assert.equal(wires.length, 1);
  assert.equal(wires[0]?.inInterface, "in-1");
  assert.notEqual(wires[0]?.outInterface, "in-1");
  await handler.request(request({ ...first, state: State.RESELECT_REQUESTED }), call);
  assert.deepEqual(
    wires.map(({ closed }) => closed.aborted),
    [true, false],
  );
  await handler.close(first, call);
  assert.deepEqual(
    wires.map(({ closed }) => closed.aborted),
    [true, true],
  );
});

test("row 2.9: an author who refuses, and a next function that refuses, refuse the connection and leave nothing", async () => {
  const refusing = start({ onWire: () => Promise.reject(statusError(Code.RESOURCE_EXHAUSTED, "no more rules")) });
  await assert.rejects(refusing.handler.request(request(), call), { code: Code.RESOURCE_EXHAUSTED });
  assert.deepEqual(refusing.wires(), []);
  const failing = start({ fail: true });
  await assert.rejects(failing.handler.request(request(), call), { code: Code.UNAVAILABLE });
  assert.deepEqual(failing.wires(), []);
});

test("rows 1.6, 2.9: a function that is reached by memif asks the next one for memif, and its author hears of both sockets", async () => {
  const heard: Wire[] = [];
  const { handler, asked } = start({ onWire: (wire) => void heard.push(wire) });
  const memif = makeMechanism("LOCAL", MechanismType.MEMIF, { socketfile: "@in", inodeURL: "inode://4/1" });
  const { connection } = request();
  const first = await handler.request(
    NetworkServiceRequest.fromPartial({ connection: { ...connection, mechanism: memif } }),
    call,
  );
  assert.deepEqual(asked[0]?.mechanism_preferences[0]?.parameters, { inodeURL: "inode://4/2" });
  assert.deepEqual(
    heard.map(({ inSocket, outSocket, inInterface, outInterface }) => [inSocket, outSocket, inInterface, outInterface]),
    [["@in", "@out", "", ""]],
  );
  await handler.request(request({ ...first, mechanism: memif }), call);
  assert.equal(asked[1]?.connection?.mechanism?.parameters["socketfile"], "@out");
  assert.equal(heard.length, 1, "a refresh changes nothing");
});

interface Options {
  readonly service?: string;
  readonly onWire?: (wire: Wire) => void | Promise<void>;
  readonly fail?: boolean;
}

function start({ service, onWire = () => {}, fail = false }: Options) {
  const asked: NetworkServiceRequest[] = [];
  const closed: Connection[] = [];
  const between = standBetween({ service, labels: { app: "wire" }, nsmgr: "unix:///nsm", netnsUrl: "inode://4/2" });
  const owner = tellOwnerOfWire(between, onWire);
  const next: Handler<ConnectionApi, HasNextHop> = {
    async request(input) {
      asked.push(input);
      if (fail) throw statusError(Code.UNAVAILABLE, "no next function");
      return grantByNext(input);
    },
    async close(connection) {
      closed.push(connection);
    },
  };
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(enterPath("wire-1"))
    .use(serialize({ log: silentLog }))
    .use(undo({ log: silentLog }))
    .use(owner.element)
    .use(between)
    .end(next);
  return { handler, asked, closed, wires: owner.wires };
}

/** Three segments later, as with an endpoint on the same node. */
function grantByNext({ connection, mechanism_preferences }: NetworkServiceRequest): Connection {
  const asked = Connection.fromPartial({ ...connection });
  const path = asked.path ?? { index: 0, path_segments: [] };
  const later = ["nsmgr", "forwarder", "nse-1"].map((name) => ({ name, id: `${name}-id`, token: "", metrics: {} }));
  return Connection.fromPartial({
    ...asked,
    network_service_endpoint_name: "nse-1",
    mechanism: asked.mechanism ?? listening(mechanism_preferences[0]),
    context: { ip_context: { src_ip_addrs: ["10.0.0.1/32"] } },
    path: { ...path, path_segments: [...path.path_segments.slice(0, path.index + 1), ...later] },
  });
}

/** The forwarder says where it listens. */
function listening(mechanism: Mechanism | undefined): Mechanism | undefined {
  if (mechanism?.type !== MechanismType.MEMIF) return mechanism;
  return { ...mechanism, parameters: { ...mechanism.parameters, socketfile: "@out" } };
}

function request(granted?: Connection): NetworkServiceRequest {
  const first = Connection.fromPartial({
    id: "f-1",
    network_service: "outer",
    network_service_endpoint_name: "wire-1",
    labels: { app: "client" },
    mechanism: clientMechanism,
    path: { index: 0, path_segments: [{ name: "forwarder", id: "f-1" }] },
  });
  const connection = granted === undefined ? first : withSegment(granted, 0, (segment) => segment);
  return NetworkServiceRequest.fromPartial({ connection });
}
