import assert from "node:assert/strict";
import { test } from "node:test";
import { missingCapabilities } from "./process-capabilities.js";

const all = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_BROADCAST", "CAP_NET_RAW"] as const;
const cases = [
  { status: "CapEff:\t0000000000000000\n", missing: all },
  { status: "CapEff:\t000001ffffffffff\n", missing: [] },
  {
    status: "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000201000\n",
    missing: ["CAP_SYS_PTRACE", "CAP_NET_BROADCAST", "CAP_NET_RAW"],
  },
  { status: "CapEff:\t0000000000283800\n", missing: [] },
  { status: "", missing: [] },
];
for (const { status, missing } of cases) {
  test(`${JSON.stringify(status)} lacks ${missing.join(", ") || "nothing"}`, () => {
    assert.deepEqual(missingCapabilities(all, status), missing);
  });
}
