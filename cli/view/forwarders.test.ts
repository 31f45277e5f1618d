import assert from "node:assert/strict";
import { test } from "node:test";
import { abilities } from "./forwarders.js";

test("what a forwarder can do, by which data plane, and what it lacks for more", () => {
  const facts = [
    { name: "veth", value: "yes", detail: "tried" },
    { name: "dpdk", value: "no", detail: "not asked for" },
    { name: "mechanisms", value: "KERNEL, MEMIF", detail: 'built by data plane "auto"' },
  ];
  assert.deepEqual(abilities(facts), { can: "KERNEL, MEMIF", by: "auto", missing: ["dpdk: not asked for"] });
  assert.deepEqual(abilities([]), { can: "nothing", by: "?", missing: [] });
});
