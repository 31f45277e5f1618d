import assert from "node:assert/strict";
import { test } from "node:test";
import { State } from "../gen/connection.js";
import { Code, statusError } from "../status.js";
import { listenTo, start } from "../testing/scripted-client.js";
import { grant, startScriptedNodeManager } from "../testing/scripted-node-manager.js";
import { until } from "../testing/until.js";

test("row 7.7, 7.14: a check of the user's own finds that no packet passes", async (t) => {
  const node = await startScriptedNodeManager(t);
  let passes = true;
  const connection = await start(t, node, { liveness: async () => passes, livenessIntervalMs: 5, livenessTimeoutMs: 50 });
  const heard = listenTo(connection);
  node.answer = (request) => {
    if (request.connection?.state === State.RESELECT_REQUESTED) passes = true;
    return grant(request);
  };
  passes = false;
  const healed = await until("healing", () => heard.find((change) => change.kind === "healed"));
  assert.equal(healed.kind === "healed" && healed.how, "reselect");
});

test("row 7.8: reports of faults while packets pass: the connection is neither closed nor reselected", async (t) => {
  const node = await startScriptedNodeManager(t);
  let checks = 0;
  const connection = await start(t, node, { liveness: async () => ++checks > 0, livenessIntervalMs: 5 });
  await until("a check", () => checks > 1);
  await until("the stream", () => node.watchers() === 1);
  node.answer = () => Promise.reject(statusError(Code.UNAVAILABLE, "the forwarder is away"));
  node.report(connection.id, State.DOWN);
  await until("some tries", () => node.requests.length > 4);
  await node.stop();
  await node.start();
  node.answer = (request) => grant(request);
  const before = node.requests.length;
  await until("a granted refresh", () => node.requests.length > before && node.held.has(connection.id));
  assert.ok(node.requests.every(({ connection }) => connection?.state === State.UP));
  assert.deepEqual(node.closes, []);
});

test("row 7.3: of several connections to one endpoint that are reported as down, one asks for what it had, and the others do as it turns out", async (t) => {
  const node = await startScriptedNodeManager(t);
  const options = { liveness: () => new Promise<boolean>(() => {}), livenessIntervalMs: 5 };
  const names = ["c-1", "c-2", "c-3"];
  const all = await Promise.all(names.map((id) => start(t, node, { ...options, id, url: `kernel://icmp-responder/${id}` })));
  const heard = all.map(listenTo);
  await until("the stream", () => node.watchers() === 1);
  const before = node.requests.length;
  let settle = (): void => {};
  const answered = new Promise<void>((resolve) => {
    settle = resolve;
  });
  node.answer = async (request) => {
    await answered;
    return grant(request);
  };
  for (const id of names) node.report(id, State.DOWN);
  await until("all to notice", () => heard.every((changes) => changes.some(({ kind }) => kind === "trouble")));
  await until("the first to ask", () => node.requests.length > before);
  assert.equal(node.requests.length, before + 1);
  settle();
  await until("all to ask", () => node.requests.length === before + names.length);
});

test("row 7.7: a path on which no probe was ever answered is tried anew, then left alone: ICMP may be filtered", async (t) => {
  const node = await startScriptedNodeManager(t);
  let checks = 0;
  const connection = await start(t, node, { liveness: async () => ++checks < 0, livenessIntervalMs: 5, livenessTimeoutMs: 20 });
  const heard = listenTo(connection);
  await until("healing to end", () => heard.at(-1)?.kind === "healed");
  const asked = node.requests.map((request) => request.connection?.state);
  const seen = checks;
  await until("further checks", () => checks > seen + 5);
  assert.deepEqual(asked, [State.UP, State.UP, State.RESELECT_REQUESTED]);
  assert.equal(node.requests.length, 3);
});

test("row 7.7: checks that fail while a slow Request is under way do not use up the tries", async (t) => {
  const node = await startScriptedNodeManager(t);
  let checks = 0;
  const connection = await start(t, node, { liveness: async () => ++checks < 0, livenessIntervalMs: 1, livenessTimeoutMs: 20 });
  const heard = listenTo(connection);
  node.answer = async (request) => {
    const before = checks;
    await until("further checks", () => checks > before + 5 || request.connection?.state === State.RESELECT_REQUESTED);
    return grant(request);
  };
  await until("healing to end", () => heard.at(-1)?.kind === "healed");
  const asked = node.requests.map((request) => request.connection?.state);
  assert.deepEqual(asked, [State.UP, State.UP, State.RESELECT_REQUESTED]);
});

test("row 7.7: what a reselect gives up is not probed any more; what it brings is", async (t) => {
  const node = await startScriptedNodeManager(t);
  let passes = true;
  let checks = 0;
  const liveness = async (): Promise<boolean> => {
    checks += 1;
    return passes;
  };
  const connection = await start(t, node, { liveness, livenessIntervalMs: 1, livenessTimeoutMs: 20 });
  const heard = listenTo(connection);
  await until("a check", () => checks > 0);
  let seen = 0;
  node.answer = async (request) => {
    if (request.connection?.state !== State.RESELECT_REQUESTED) throw statusError(Code.UNAVAILABLE, "gone");
    seen = checks;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(checks <= seen + 1, `${checks - seen} checks while another endpoint was asked for`);
    passes = true;
    return grant(request);
  };
  passes = false;
  await until("healing", () => heard.find((change) => change.kind === "healed"));
  await until("further checks", () => checks > seen + 5);
});
