import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { outageOf, pressureOf } from "./play-fault.js";
import { probePlan } from "./pods.js";
import { promiseOf } from "./promises.js";
import { type Fault, faultKinds, schedule } from "./schedule.js";
import { defaultTopology, needsCore, readTopology, type Topology } from "./topology.js";

const topology = defaultTopology(2, 50, true);

test("a seed stands for one list of faults; another seed for another one", () => {
  assert.deepEqual(schedule(topology, { seed: 4, count: 30 }), schedule(topology, { seed: 4, count: 30 }));
  assert.notDeepEqual(schedule(topology, { seed: 4, count: 30 }), schedule(topology, { seed: 5, count: 30 }));
});

test("every kind of fault comes before any comes again; a shorter list is the beginning of a longer one", () => {
  const kinds = faultKinds(topology).length;
  const first = schedule(topology, { seed: 9, count: kinds });
  assert.equal(
    new Set(first.map(({ kind }) => kind)).size,
    new Set(schedule(topology, { seed: 9, count: 200 }).map(({ kind }) => kind)).size,
  );
  assert.deepEqual(schedule(topology, { seed: 9, count: 200 }).slice(0, kinds), first);
});

test("one node has no faults between nodes", () => {
  const kinds = faultKinds(defaultTopology(1, 5, false));
  assert.ok(!kinds.includes("partition") && kinds.includes("kill"));
});

test("fifty connections are a hundred streams at 20 packets a second, one of them at 1,000, and the one outside", () => {
  const rates = probePlan(topology).pods.flatMap(({ streams }) => streams.map(({ perSecond }) => perSecond));
  assert.equal(rates.length, 101);
  assert.equal(rates.filter((rate) => rate === 1000).length, 1);
  assert.equal(rates.filter((rate) => rate === 20).length, 99);
});

test("an outage is the longest run of losses; single losses far apart are none", () => {
  const lost = (...those: [number, number][]) => those.map(([sequence, atMs]) => ({ sequence, atMs }));
  assert.equal(outageOf([], 50), 0);
  assert.equal(outageOf(lost([1, 1000], [21, 2000], [41, 3000]), 50), 50);
  assert.equal(outageOf(lost([3, 1100], [1, 1000], [2, 1050], [80, 5000], [81, 5650], [82, 5700]), 50), 750);
});

test("the pressure on the mesh is the Requests of its clients in the busiest tenth of a second", () => {
  const note = (kind: "asked" | "healed", atMs: number) => ({ kind, atMs, connection: "c", text: "", tookMs: undefined });
  const notes = [note("asked", 100), note("asked", 210), note("healed", 220), note("asked", 299), note("asked", 300)];
  assert.deepEqual(pressureOf(notes), { requests: 4, mostPer100Ms: 2 });
});

test("a topology of one's own: what is wrong in it is said with its place", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wt-topology-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "mine.yaml");
  const good = `nodes: 2
services: [{ name: web }]
endpoints: [{ pod: web-1, node: node-2, service: web }]
clients: [{ pod: me, node: node-1, service: web, connections: 3 }]
`;
  writeFileSync(file, good);
  assert.equal(readTopology(file).clients[0]?.connections, 3);
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["node: node-2", "node: node-3", /endpoints\[0\]\.node: "node-3" is none of node-1 … node-2/],
    ["service: web,", "service: wab,", /clients\[0\]\.service: "wab" is not under services/],
    ["nodes: 2", "nodes: none", /nodes: a number from 1 to 64/],
    ["clients: [", "customers: [", /clients: a list with at least one entry/],
  ];
  for (const [from, to, expected] of cases) {
    writeFileSync(file, good.replace(from, to));
    assert.throws(() => readTopology(file), expected);
  }
});

test("planned changes of components are faults of their own: one forwarder, one node, all components in turn", () => {
  const kinds = ["drain-forwarder", "drain-node", "roll"];
  const faults = schedule(topology, { seed: 7, count: 12, kinds });
  assert.deepEqual(new Set(faults.map(({ kind }) => kind)), new Set(kinds));
  for (const { kind, targets } of faults) {
    if (kind === "drain-forwarder") assert.match(targets.join(), /^forwarder-[12]$/);
    else if (kind === "drain-node") assert.match(targets.join(), /^node-[12]$/);
    else assert.deepEqual(targets.toSorted(), ["forwarder-1", "forwarder-2", "nsmgr-1", "nsmgr-2", "registry"]);
    assert.match(promiseOf({ kind, targets } as Fault, topology).text, /^no packet lost/);
  }
  assert.ok(!faultKinds(defaultTopology(1, 5, false)).includes("drain-node"), "there is no other node to go to");
});

test("a node goes down: who has nowhere to go is promised to be well when it is back, all others go elsewhere at once", () => {
  const three = defaultTopology(3, 48, true);
  const promised = promiseOf({ kind: "node-down", targets: ["node-2"], holdMs: 4_000 }, three);
  assert.match(promised.text, /nowhere to go/);
  const losing = (stream: string, outageMs: number, wellAfterMs = 100) =>
    promised.check({ lost: 9, losses: [{ stream, lost: 9, outageMs }], wellAfterMs, overAfterMs: 4_000 });
  assert.deepEqual(losing("banker/vault-0 IPv4", 6_000), [], "its only endpoint was there");
  assert.match(losing("banker/vault-0 IPv4", 6_000, 3_100).join(), /well only 3100 ms/);
  assert.match(losing("going-east/east-0 IPv6", 2_100).join(), /going-east\/east-0 IPv6: no packets for 2100 ms/);
  assert.deepEqual(losing("going-east/east-0 IPv6", 1_900), []);
  const without = promiseOf({ kind: "node-down", targets: ["node-2"], holdMs: 4_000 }, defaultTopology(3, 48, false));
  assert.doesNotMatch(without.text, /nowhere to go/);
});

const ringsTopology: Topology = {
  nodes: 2,
  services: [{ name: "rings", payload: "ETHERNET" }],
  endpoints: [
    { pod: "ring-1", node: "node-1", service: "rings", mechanism: "memif" },
    { pod: "ring-2", node: "node-2", service: "rings", mechanism: "memif" },
  ],
  clients: [
    { pod: "near", node: "node-1", service: "rings", connections: 2, mechanism: "memif" },
    { pod: "linked", node: "node-2", service: "rings", connections: 2 },
  ],
};

test("who has rings is never drained or restarted, and has no interface to take down; its streams are its own", () => {
  const faults = schedule(ringsTopology, { seed: 3, count: 300 });
  const kinds = new Set(faults.map(({ kind }) => kind));
  assert.ok(
    !["drain", "retire", "drain-node", "drain-forwarder"].some((kind) => kinds.has(kind as Fault["kind"])) &&
      kinds.has("pod-gone"),
  );
  const targetsOf = (kind: string): string[] => faults.filter((fault) => fault.kind === kind).flatMap(({ targets }) => targets);
  assert.ok(targetsOf("restart").every((name) => !name.startsWith("ring-")));
  assert.ok(targetsOf("interface-down").every((name) => name.startsWith("linked/")));
  const streams = probePlan(ringsTopology).pods.flatMap(({ streams }) => streams.map(({ name }) => name));
  assert.equal(streams.filter((name) => name.startsWith("near")).length, 0);
});

test("whose rings ended with a process may lose packets, and nobody else", () => {
  const loss = (stream: string) => ({ stream, lost: 3, outageMs: 150 });
  const outcome = { lost: 6, losses: [loss("near/rings-0 rings"), loss("linked/rings-0 IPv4")], wellAfterMs: 1, overAfterMs: 0 };
  const check = (...targets: string[]) => promiseOf({ kind: "kill", targets }, ringsTopology).check(outcome);
  assert.deepEqual(check("ring-1"), []);
  assert.deepEqual(check("near"), ["3 packets lost, on 1 streams, first linked/rings-0 IPv4"]);
  assert.deepEqual(check("forwarder-1"), ["6 packets lost, on 2 streams, first near/rings-0 rings"]);
});

test("a topology with rings is checked: endpoints of such a client, who leaves, the word itself", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wt-rings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const read = (endpoint: string, client: string) => {
    const path = join(folder, "topology.yaml");
    const pods = `endpoints: [{ pod: a, node: node-1, service: s${endpoint} }]\nclients: [{ pod: b, node: node-1, service: s${client} }]\n`;
    writeFileSync(path, `nodes: 1\nservices: [{ name: s }]\n${pods}`);
    return readTopology(path);
  };
  assert.equal(needsCore(read(", mechanism: memif", ", mechanism: memif")), true);
  assert.equal(needsCore(read("", "")), false);
  assert.throws(
    () => read("", ", mechanism: memif"),
    /client with mechanism memif asks for s, so endpoint a needs mechanism memif/,
  );
  assert.throws(() => read(", mechanism: memif, leaves: true", ""), /endpoints\[0\]: rings end with their process/);
  assert.throws(() => read(", mechanism: vhost", ""), /endpoints\[0\]\.mechanism is kernel or memif/);
});
