/** Descriptors, timers, streams and memory stay flat: everything of a mesh in this process, connections that come, move and go. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import { startMesh } from "../journey/mesh.js";
import { until } from "../journey/until.js";

const perRound = 50;
const warmUp = 2;
const rounds = 5;
/**
 * What a round may leave behind. Each manager and forwarder keeps for `weft why` how it decided about its last 2,000 connections,
 * and this mesh its log: that is half of it. Whoever holds requests, streams or connections for good leaves more.
 */
const slopeBytes = 1_000_000;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("row 11.4: 50 connections come, move to another endpoint and go, again and again: nothing grows", async (t) => {
  const mesh = await startMesh(t, { nodes: ["n1", "n2"] });
  const near = await mesh.node("n1").serve({ name: "blue", labels: { colour: "blue" }, cidrs: ["172.16.0.0/16"] });
  const far = await mesh.node("n2").serve({ name: "green", labels: { colour: "green" }, cidrs: ["172.17.0.0/16"] });
  const edit = (colour: string) =>
    mesh.registerService({
      name: "service",
      payload: "ETHERNET",
      matches: [{ routes: [{ destination_selector: { colour } }] }],
    });

  async function round(): Promise<void> {
    await edit("blue");
    const url = "kernel://service/nsm-1";
    const common = {
      nsmgr: mesh.node("n1").url,
      dialer: mesh.dialer,
      signal: mesh.signal,
      liveness: false as const,
      lingerMs: 10,
    };
    const made: ClientConnection[] = await Promise.all(Array.from({ length: perRound }, () => connect({ ...common, url })));
    await edit("green");
    const moved = (): boolean =>
      made.every(({ connection }) => connection.network_service_endpoint_name === "green") && near.connections.length === 0;
    await until("all have moved", moved, 60_000);
    assert.equal(far.connections.length, perRound);
    await Promise.all(made.map((connection) => connection.close()));
    await until("all have gone", () => far.connections.length === 0);
  }

  for (let turn = 0; turn < warmUp; turn++) await round();
  const before = await measure();
  for (let turn = 0; turn < rounds; turn++) await round();
  const after = await measure();
  t.diagnostic(`before ${JSON.stringify(before)}; after ${rounds} rounds of ${perRound}: ${JSON.stringify(after)}`);
  assert.ok(after.descriptors <= before.descriptors + 2, `${after.descriptors} descriptors, before ${before.descriptors}`);
  assert.ok(after.resources <= before.resources + 4, `${after.resources} timers and handles, before ${before.resources}`);
  const slope = (after.heapBytes - before.heapBytes) / rounds;
  assert.ok(slope < slopeBytes, `${Math.round(slope)} bytes a round`);
  for (const node of ["n1", "n2"]) assert.equal((await mesh.node(node).connections()).length, 0);
});

/** Once what ends a moment later has ended. */
async function measure(): Promise<{ readonly descriptors: number; readonly resources: number; readonly heapBytes: number }> {
  let least = { descriptors: Number.POSITIVE_INFINITY, resources: Number.POSITIVE_INFINITY, heapBytes: Number.POSITIVE_INFINITY };
  for (let look = 0; look < 6; look++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    collect();
    least = {
      descriptors: Math.min(least.descriptors, readdirSync("/proc/self/fd").length),
      resources: Math.min(least.resources, process.getActiveResourcesInfo().length),
      heapBytes: Math.min(least.heapBytes, process.memoryUsage().heapUsed),
    };
  }
  return least;
}
