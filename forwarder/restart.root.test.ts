import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../sdk/testing/until.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";

test("forwarders of both nodes are killed with -9 and started again while packets flow: none is lost, and all is removed", async (t) => {
  const nodes = await createNodeProcesses(t);
  const before = nodes.inventory();
  await Promise.all([nodes.a.start(), nodes.b.start()]);
  const connections = { local: await nodes.request("local"), remote: await nodes.request("remote") };
  const local = pingAlong(t, nodes.client.url, "172.16.1.1", "172.16.1.2");
  const remote = pingAlong(t, nodes.client.url, "172.16.2.1", "172.16.2.2");
  for (const forwarder of [nodes.a, nodes.b]) {
    await local.more(5);
    await remote.more(5);
    await forwarder.kill("SIGKILL");
    await local.more(20);
    await remote.more(20);
    await forwarder.start();
    for (const to of ["local", "remote"] as const) connections[to] = await nodes.request(to, connections[to]);
    await local.more(5);
    await remote.more(5);
  }
  for (const flow of [local, remote]) {
    const { sent, lost } = await flow.stop();
    assert.ok(sent >= 60, `${sent} sent`);
    assert.equal(lost, 0, `of ${sent}`);
  }
  for (const to of ["local", "remote"] as const) await nodes.close(connections[to]);
  await until("all links are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
});

test("what a killed forwarder left of a connection that expired meanwhile is reclaimed at its next start", async (t) => {
  const nodes = await createNodeProcesses(t);
  const before = nodes.inventory();
  await nodes.a.start();
  await nodes.request("local", undefined, 1_500);
  await nodes.a.kill("SIGKILL");
  assert.notDeepEqual(nodes.inventory(), before);
  const expired = Date.now() + 1_500;
  await until("it has expired", () => Date.now() > expired);
  await nodes.a.start();
  await until("all links are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
});
