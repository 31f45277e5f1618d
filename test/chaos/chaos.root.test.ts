/** A short rehearsal of faults with real processes and packets: the same command that operators have. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { ChurnResult } from "../../cli/chaos/churn.js";
import type { RunResult } from "../../cli/chaos/run.js";
import { notBuilt } from "../../forwarder/native/testing/tool.js";
import { finish, weftScript } from "../cli/isolated.js";

async function chaos<T = RunResult>(...argv: string[]): Promise<{ readonly result: T; readonly told: string }> {
  const child = spawn(process.execPath, [weftScript, "chaos", "--json", ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const { out, err } = await finish(child);
  assert.notEqual(out, "", err);
  return { result: JSON.parse(out) as T, told: err };
}

test("rows 7.1, 7.2, 7.4, 7.5, 7.8, 7.12: components killed, restarted, rolled and frozen under traffic in IPv4 and IPv6: no packet lost, nothing left", async (t) => {
  const kinds = "kill,restart,roll,freeze,half-open,slow";
  const { result, told } = await chaos("--seed", "11", "--connections", "16", "--faults", "6", "--only", kinds);
  t.diagnostic(told);
  assert.equal(result.void, false, "the machine lost packets outside the mesh");
  assert.equal(result.lost, 0, told);
  assert.deepEqual(result.orphans, []);
  assert.ok(result.sent > 2_000, `only ${result.sent} packets were sent`);
  assert.equal(result.timeline.length, 6);
  const unwell = result.timeline.flatMap(({ broken }) => broken.filter((why) => why.startsWith("not well")));
  assert.deepEqual(unwell, [], told);
});

test("rows 7.3, 7.15: endpoints, a forwarder and a node are drained, by the operator and by themselves, and come back, under traffic: no packet lost", async (t) => {
  const kinds = "retire,drain,drain-forwarder,drain-node";
  const { result, told } = await chaos("--seed", "2", "--connections", "16", "--faults", "4", "--only", kinds);
  t.diagnostic(told);
  assert.equal(result.void, false, "the machine lost packets outside the mesh");
  assert.deepEqual(result.timeline.map(({ fault }) => fault.kind).toSorted(), [
    "drain",
    "drain-forwarder",
    "drain-node",
    "retire",
  ]);
  assert.ok(
    result.timeline.some(({ moved }) => moved > 0),
    told,
  );
  assert.equal(result.lost, 0, told);
  assert.deepEqual(result.orphans, []);
  const unwell = result.timeline.flatMap(({ broken }) => broken.filter((why) => why.startsWith("not well")));
  assert.deepEqual(unwell, [], told);
});

test("rows 7.3, 7.6, 7.7: an endpoint's pod goes, an interface goes down, everything is killed at once: every connection carries packets again", async (t) => {
  const kinds = "pod-gone,interface-down,everything";
  const { result, told } = await chaos("--seed", "21", "--connections", "12", "--faults", "3", "--only", kinds);
  t.diagnostic(told);
  assert.equal(result.void, false, "the machine lost packets outside the mesh");
  assert.deepEqual(result.orphans, []);
  for (const { fault, broken, lost } of result.timeline) {
    const unwell = broken.filter((why) => why.startsWith("not well"));
    assert.deepEqual(unwell, [], `${fault.kind}: ${told}`);
    if (fault.kind === "everything") assert.equal(lost, 0, `the kernel and wireguard-go carry on: ${told}`);
  }
});

test("rows 11.2, 11.3: 80 connections on one node, a forwarder killed: nothing lost, components stay below upstream's limits", async (t) => {
  const { result, told } = await chaos("--seed", "4", "--nodes", "1", "--connections", "80", "--faults", "1", "--only", "kill");
  t.diagnostic(`${told}\n${JSON.stringify(result.memoryMiB)}`);
  assert.equal(result.lost, 0, told);
  assert.deepEqual(result.orphans, []);
  const { registry = 0, "nsmgr-1": nsmgr = 0, "forwarder-1": forwarder = 0 } = result.memoryMiB;
  assert.ok(
    nsmgr > 0 && nsmgr < 200 && forwarder > 0 && forwarder < 500 && registry > 0 && registry < 260,
    JSON.stringify(result.memoryMiB),
  );
});

test("rows 7.1, 7.3, 11.4: a node goes down that 40 connections of four workloads lead to: all find another endpoint, few Requests, nothing left", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wt-lost-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const topology = join(folder, "lost.yaml");
  const clients = ["a", "b"].flatMap((letter) => [
    `  - { pod: shop-${letter}, node: node-1, service: web, connections: 10 }`,
    `  - { pod: till-${letter}, node: node-3, service: store, connections: 10 }`,
  ]);
  const endpoints = [
    "{ pod: web-2, node: node-2, service: web }",
    "{ pod: store-2, node: node-2, service: store }",
    "{ pod: web-3, node: node-3, service: web, standby: true }",
    "{ pod: store-1, node: node-1, service: store, standby: true }",
  ];
  const services = "services: [{ name: web }, { name: store }]";
  writeFileSync(topology, `nodes: 3\n${services}\nendpoints: [${endpoints.join(", ")}]\nclients:\n${clients.join("\n")}\n`);
  const { result, told } = await chaos("--seed", "3", "--faults", "1", "--only", "node-down", "--topology", topology);
  t.diagnostic(told);
  assert.deepEqual(result.orphans, []);
  const [entry] = result.timeline;
  assert.ok(entry !== undefined && entry.noticed === 40, told);
  assert.deepEqual(
    entry.broken.filter((why) => why.startsWith("not well")),
    [],
    told,
  );
  assert.ok(entry.requests >= 40 && entry.requests < 10 * 40, `${entry.requests} Requests for 40 connections`);
});

test("rows 11.1, 11.4: clients come and go while components are killed: no orphan, no address twice, memory and descriptors flat", async (t) => {
  const { result, told } = await chaos<ChurnResult>("--seed", "2", "--connections", "12", "--churn", "24");
  t.diagnostic(`${told}\n${JSON.stringify(result.growth)}`);
  assert.deepEqual(result.orphans, []);
  assert.deepEqual(result.addressesTwice, []);
  assert.equal(result.unhealed, "");
  assert.equal(result.kills, 2);
});

test("rows 7.1, 7.2, 7.6: rings: memif to memif on one node and between nodes, an interface to memif: killed components cost no packet, everything at once heals", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "wt-rings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const topology = join(folder, "rings.yaml");
  const endpoints = [
    "ring-1, node: node-1, service: rings",
    "ring-2, node: node-2, service: rings",
    "far, node: node-1, service: far",
  ];
  const clients = [
    "near, node: node-1, service: rings, connections: 2, mechanism: memif",
    "over, node: node-2, service: far, connections: 2, mechanism: memif",
    "linked, node: node-2, service: far, connections: 2",
  ];
  const list = (pods: readonly string[], more = ""): string => pods.map((pod) => `  - { pod: ${pod}${more} }\n`).join("");
  const services = "services: [{ name: rings }, { name: far }]";
  writeFileSync(
    topology,
    `nodes: 2\n${services}\nendpoints:\n${list(endpoints, ", mechanism: memif")}clients:\n${list(clients)}`,
  );
  const { result, told } = await chaos(
    "--seed",
    "1",
    "--faults",
    "3",
    "--only",
    "kill,pod-gone,everything",
    "--topology",
    topology,
  );
  t.diagnostic(told);
  assert.equal(result.void, false, "the machine lost packets outside the mesh");
  assert.deepEqual(result.orphans, []);
  assert.ok(result.sent > 1_000, `only ${result.sent} packets were sent`);
  for (const { fault, broken, lost } of result.timeline) {
    const unwell = broken.filter((why) => why.startsWith("not well"));
    assert.deepEqual(unwell, [], `${fault.kind}: ${told}`);
    if (fault.kind === "kill") assert.equal(lost, 0, told);
  }
});
