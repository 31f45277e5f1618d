import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "../sdk/status.js";
import { parseDscp, parseRate, trafficOf } from "./traffic.js";

const core = { name: "auto", limitsTraffic: true };
const free = { maxRate: undefined, dscp: undefined };
const of = (labels: Record<string, string>, rules: Parameters<typeof trafficOf>[1] = free, plane: typeof core = core) =>
  trafficOf({ id: "c1", labels }, rules, plane).traffic;

test("rates and classes as people write them", () => {
  const rates = ["8000", "100k", "2.5G", "100Mbit", "1Gbit/s"].map(parseRate);
  assert.deepEqual(rates, [8_000, 100_000, 2_500_000_000, 100_000_000, 1_000_000_000]);
  for (const wrong of ["", "0", "7999", "-5M", "1e9", "100m", "1001G", "1T", "99999999999999999999"])
    assert.equal(parseRate(wrong), undefined, wrong);
  assert.deepEqual(["0", "63", "EF", "va", "CS7", "af41", "AF13"].map(parseDscp), [0, 63, 46, 44, 56, 34, 14]);
  for (const wrong of ["", "64", "AF44", "CS8", "-1", "best"]) assert.equal(parseDscp(wrong), undefined, wrong);
});

test("labels limit a connection, each way, within what the operator allows", () => {
  assert.equal(of({ color: "red" }), undefined);
  assert.deepEqual(of({ "weft-rate": "10M" }), { upBitsPerSecond: 10e6, downBitsPerSecond: 10e6 });
  assert.deepEqual(of({ "weft-rate-up": "10M" }), { upBitsPerSecond: 10e6, downBitsPerSecond: 0 });
  assert.deepEqual(of({ "weft-rate": "10M", "weft-rate-down": "1G", "weft-dscp": "EF" }), {
    upBitsPerSecond: 10e6,
    downBitsPerSecond: 1e9,
    dscp: 46,
  });
  assert.deepEqual(of({ "weft-rate-up": "1G" }, { maxRate: 5e6, dscp: 0 }), {
    upBitsPerSecond: 5e6,
    downBitsPerSecond: 5e6,
    dscp: 0,
  });
});

test("a label that makes no sense, and a data plane that cannot enforce it, are refused", () => {
  for (const labels of [{ "weft-rate": "fast" }, { "weft-rate-up": "" }, { "weft-dscp": "64" }])
    assert.throws(() => of(labels), { code: Code.INVALID_ARGUMENT });
  assert.throws(() => of({ "weft-rate": "10M" }, free, { name: "kernel", limitsTraffic: false }), {
    code: Code.FAILED_PRECONDITION,
    details: /data plane "kernel" cannot enforce/,
  });
  assert.equal(of({}, free, { name: "kernel", limitsTraffic: false }), undefined);
});
