import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { rankForwarders } from "./rank-forwarders.js";

const p2p = forwarder("kernel", { p2p: "true" });
const p2mp = forwarder("ovs", { p2mp: "true" });
const both = forwarder("vpp", { p2p: "true", p2mp: "true", sriov: "yes" });
const all = [p2p, p2mp, both];

test("row 2.5, row 2.6: only forwarders with every label required are candidates, the others are refused with the label", () => {
  const ranking = rank({ required: [{ p2p: "true", sriov: "yes" }] });
  assert.deepEqual(names(ranking), ["vpp"]);
  assert.deepEqual(ranking.refused, [
    { candidate: "kernel", rule: "label sriov=yes required" },
    { candidate: "ovs", rule: "label p2p=true required" },
  ]);
});

test("row 2.7: a service that needs p2mp goes to a p2mp forwarder", () => {
  assert.deepEqual(names(rank({ required: [{ p2mp: "true" }] })), ["ovs", "vpp"]);
});

test("the next label set is tried only when the first finds nobody", () => {
  assert.deepEqual(names(rank({ required: [{ gpu: "1" }, { p2mp: "true" }] })), ["ovs", "vpp"]);
  assert.deepEqual(names(rank({ required: [{ p2p: "true" }, { p2mp: "true" }] })), ["kernel", "vpp"]);
});

test("no match of the service: nobody; no labels required: everybody", () => {
  assert.deepEqual(names(rank({ required: [] })), []);
  assert.deepEqual(names(rank({ required: [{}] })), ["kernel", "ovs", "vpp"]);
});

test("the connection's own forwarder goes first", () => {
  assert.deepEqual(names(rank({ required: [{}], current: "vpp" })), ["vpp", "kernel", "ovs"]);
  assert.deepEqual(names(rank({ required: [{}], current: "gone" })), ["kernel", "ovs", "vpp"]);
});

test("names of Object's own members are ordinary labels", () => {
  assert.deepEqual(names(rank({ required: [{ constructor: "x" }] })), []);
  assert.deepEqual(names(rank({ required: [{ toString: "" }] })), []);
  const odd = NetworkServiceEndpoint.fromPartial({ name: "odd", network_service_names: ["constructor"] });
  assert.equal(
    rankForwarders({ forwarders: [odd], serviceName: "constructor", required: [{ a: "b" }], current: undefined }).candidates
      .length,
    0,
  );
});

test("every forwarder is a candidate or refused, and none is a candidate twice", () => {
  const labels = fc.dictionary(fc.constantFrom("a", "b", "__proto__"), fc.constantFrom("1", "2"));
  fc.assert(
    fc.property(fc.array(labels), fc.array(labels, { maxLength: 3 }), (given, required) => {
      const forwarders = given.map((one, index) => forwarder(`f${index}`, one));
      const ranking = rankForwarders({ forwarders, serviceName: "forwarder", required, current: undefined });
      assert.equal(new Set(names(ranking)).size, ranking.candidates.length);
      if (required.length === 1) assert.equal(ranking.candidates.length + ranking.refused.length, forwarders.length);
    }),
  );
});

function rank(query: { required: Record<string, string>[]; current?: string }) {
  return rankForwarders({ forwarders: all, serviceName: "forwarder", current: undefined, ...query });
}
function names(ranking: { candidates: readonly { name: string }[] }): string[] {
  return ranking.candidates.map((candidate) => candidate.name);
}
function forwarder(name: string, labels: Record<string, string>): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    network_service_names: ["forwarder"],
    network_service_labels: { forwarder: { labels } },
    url: `unix:///run/${name}`,
  });
}
