import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, State } from "../gen/connection.js";
import { parseServiceUrl } from "../mechanisms/service-url.js";
import { addressPairs } from "./address-pairs.js";
import { adopt, firstRequest, reselectRequest, sameRequest, type Wish, wantedMechanism } from "./requests.js";

const service = parseServiceUrl("kernel://icmp-responder/nsm-1?color=red&tier=gold");
const wish: Wish = {
  service,
  labels: { color: "blue" },
  name: "nsc",
  id: "nsc-0",
  mechanism: wantedMechanism(service, "nsc-0", "inode://4/1"),
  context: undefined,
  endpointName: "",
};
const granted = Connection.fromPartial({
  id: "nsc-0",
  network_service: "icmp-responder",
  network_service_endpoint_name: "nse-1",
  mechanism: { cls: "LOCAL", type: "KERNEL", parameters: { name: "nsm-1", inodeURL: "inode://4/1" } },
  context: { ip_context: { src_ip_addrs: ["10.0.0.1/32", "fd00::1/128"], dst_ip_addrs: ["10.0.0.0/32", "fd00::/128"] } },
  path: {
    index: 0,
    path_segments: [
      { name: "nsc", id: "nsc-0" },
      { name: "nsmgr", id: "x" },
    ],
  },
});

test("row 1.25: the interface name of the url is asked for, a generated one fits the kernel", () => {
  assert.equal(wish.mechanism.parameters["name"], "nsm-1");
  const generated = wantedMechanism(parseServiceUrl("kernel://a-very-long-service-name"), "id", "inode://4/1");
  assert.equal(generated.parameters["name"]?.length, 15);
  assert.deepEqual(generated, wantedMechanism(parseServiceUrl("kernel://a-very-long-service-name"), "id", "inode://4/1"));
});

test("row 1.27: labels of the url and of the call, the call's go first; segment 0 is ours", () => {
  const { connection } = firstRequest(wish);
  assert.deepEqual(connection?.labels, { color: "blue", tier: "gold" });
  assert.deepEqual(
    connection?.path?.path_segments.map(({ name, id }) => ({ name, id })),
    [{ name: "nsc", id: "nsc-0" }],
  );
});

test("row 1.28: a refresh sends what was granted", () => {
  assert.deepEqual(sameRequest(wish, granted).connection, granted);
});

test("row 7.15: a reselect forgets mechanism, endpoint and addresses, and keeps the path", () => {
  const { connection } = reselectRequest(wish, granted);
  assert.equal(connection?.state, State.RESELECT_REQUESTED);
  assert.equal(connection?.network_service_endpoint_name, "");
  assert.equal(connection?.mechanism, undefined);
  assert.equal(connection?.context, undefined);
  assert.deepEqual(connection?.path, granted.path);
});

test("an earlier connection is taken over in our own terms, a stranger's is not", () => {
  const shown = Connection.fromPartial({ ...granted, id: "x", path: { ...granted.path, index: 1 } });
  assert.deepEqual(adopt(wish, shown), granted);
  assert.equal(adopt({ ...wish, id: "nsc-1" }, shown), undefined);
  assert.equal(adopt({ ...wish, name: "other" }, shown), undefined);
  assert.equal(adopt(wish, Connection.fromPartial({ ...shown, mechanism: { type: "MEMIF" } })), undefined);
  assert.equal(adopt(wish, Connection.fromPartial({ ...shown, path: undefined })), undefined);
});

test("pairs to probe: every source with every destination of its family", () => {
  assert.deepEqual(addressPairs(granted), [
    { source: "10.0.0.1", destination: "10.0.0.0" },
    { source: "fd00::1", destination: "fd00::" },
  ]);
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.string()), (src_ip_addrs, dst_ip_addrs) => {
      addressPairs(Connection.fromPartial({ context: { ip_context: { src_ip_addrs, dst_ip_addrs } } }));
    }),
  );
});
