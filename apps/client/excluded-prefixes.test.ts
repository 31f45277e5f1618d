import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { parseAwarenessGroups, parseServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { excludedFor } from "./excluded-prefixes.js";

const first = {
  service: parseServiceUrl("kernel://a/nsm-1"),
  context: ConnectionContext.fromPartial({
    ip_context: {
      src_ip_addrs: ["10.0.0.1/32"],
      dst_ip_addrs: ["10.0.0.0/32"],
      src_routes: [{ prefix: "10.0.0.0/32" }, { prefix: "10.9.0.0/16" }, { prefix: "0.0.0.0/0" }],
    },
  }),
};
const second = parseServiceUrl("kernel://b/nsm-2");

test("row 4.5: a further service may not use what earlier ones took; a default route excludes nothing", () => {
  assert.deepEqual(excludedFor(second, [first], []), ["10.0.0.1/32", "10.0.0.0/32", "10.9.0.0/16"]);
  assert.deepEqual(excludedFor(second, [], []), []);
});

test("row 4.6: services of one awareness group may overlap", () => {
  const together = parseAwarenessGroups("[kernel://a/nsm-1,kernel://b/nsm-2]");
  assert.deepEqual(excludedFor(second, [first], together), []);
  assert.equal(excludedFor(second, [first], parseAwarenessGroups("[kernel://b/nsm-2]")).length, 3);
});
