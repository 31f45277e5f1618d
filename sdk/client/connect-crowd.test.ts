/** Many connections of one program. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { listenTo, start } from "../testing/scripted-client.js";
import { grant, startScriptedNodeManager } from "../testing/scripted-node-manager.js";
import { until } from "../testing/until.js";

test("60 connections that lose their node manager at once come back without a storm", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connections = await Promise.all(
    Array.from({ length: 60 }, (_, n) => start(t, node, { name: "pod", id: `pod-${n}`, liveness: false })),
  );
  await until("the stream", () => node.watchers() === 1);
  let underWay = 0;
  let most = 0;
  node.answer = async (request) => {
    most = Math.max(most, ++underWay);
    await new Promise((resolve) => setTimeout(resolve, 2));
    underWay -= 1;
    return grant(request);
  };
  const healed = connections.map(listenTo);
  const before = node.requests.length;
  await node.stop();
  await node.start();
  await until("all to heal", () => healed.every((heard) => heard.some(({ kind }) => kind === "healed")));
  assert.ok(most <= 16, `${most} Requests at once`);
  assert.ok(node.requests.length - before <= 2 * connections.length, `${node.requests.length - before} Requests`);
});

test("twenty connections that came and went leave no listener on the caller's signal", async (t) => {
  const node = await startScriptedNodeManager(t);
  const { signal } = new AbortController();
  for (let n = 0; n < 20; n += 1) {
    const connection = await start(t, node, { liveness: false, signal });
    await connection.close();
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("many connections of a program with one signal are no leak to Node, and the signal closes them all", async (t) => {
  const node = await startScriptedNodeManager(t);
  const controller = new AbortController();
  const { signal } = controller;
  const warnings: string[] = [];
  const warned = ({ name }: Error): void => void warnings.push(name);
  process.on("warning", warned);
  t.after(() => process.off("warning", warned));
  const ids = Array.from({ length: 40 }, (_, n) => `crowd-${n}`);
  const heard = (await Promise.all(ids.map((id) => start(t, node, { id, liveness: false, signal })))).map(listenTo);
  controller.abort();
  await until("all to end", () => heard.every((changes) => changes.some(({ kind }) => kind === "closed")));
  await until("all closes", () => node.closes.length === ids.length);
  assert.deepEqual(warnings, []);
});

test("the signal closes the connection", async (t) => {
  const node = await startScriptedNodeManager(t);
  const controller = new AbortController();
  const connection = await start(t, node, { liveness: false, signal: controller.signal });
  const heard = listenTo(connection);
  controller.abort();
  await until("the close", () => node.closes.length === 1);
  await until("the end", () => heard.some(({ kind }) => kind === "closed"));
});
