import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCounters, parseTables } from "./read-ruleset.js";

test("interfaces are found in both spellings of nft, tables without any have none", () => {
  const listing = `table netdev weft-1 {
	chain request {
	}
	chain from_client {
		type filter hook ingress device "in0" priority filter; policy drop;
	}
	chain from_network {
		type filter hook ingress devices = { "out0" } priority filter; policy drop;
	}
}
table netdev weft-2 {
	chain from_client {
		type filter hook ingress priority filter; policy drop;
	}
}`;
  assert.deepEqual(
    [...parseTables(listing)],
    [
      ["weft-1", ["in0", "out0"]],
      ["weft-2", []],
    ],
  );
  assert.equal(parseTables("").size, 0);
});

test("counters are found by table; what is none is left out", () => {
  const json = JSON.stringify({
    nftables: [
      { metainfo: {} },
      { counter: { family: "netdev", table: "weft-1", name: "a", packets: 3, bytes: 4 } },
      { counter: { family: "inet", table: "weft-1", name: "b", packets: 3, bytes: 4 } },
      { counter: null },
      null,
    ],
  });
  const counters = parseCounters(json);
  assert.deepEqual([...(counters.get("weft-1") ?? [])], [["a", { packets: 3, bytes: 4 }]]);
  assert.equal(parseCounters("{}").size, 0);
});
