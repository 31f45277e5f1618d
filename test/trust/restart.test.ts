import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code, isStatusError } from "../../sdk/status.js";
import { until } from "../../sdk/testing/until.js";
import { startTrustedMesh, wanted } from "./mesh.js";

const denied = { code: Code.PERMISSION_DENIED };

test("after kill -9 of the manager nobody takes over a connection id or an endpoint's name before its owner is back", async (t) => {
  // one registry entry, one connection over one node: its forwarder is in this process and knows the owner itself, so the
  // thief asks for what only the manager can refuse: the id of a connection that goes elsewhere behind it
  const mesh = await startTrustedMesh(t, {}, { managerProcesses: true });
  await mesh.serve({ name: "nse" });
  const [alice, mallory] = [await mesh.workload("/alice"), await mesh.workload("/mallory")];
  const connection = await alice.request(wanted("c1"));
  const [manager] = mesh.managers;
  assert.ok(manager);
  await manager.kill();
  await manager.start();

  await assert.rejects(mallory.request(elsewhere(connection)), denied, "request");
  await assert.rejects(mallory.close(elsewhere(connection)), denied, "close");
  const name = NetworkServiceEndpoint.fromPartial({
    name: "forwarder-n1",
    network_service_names: ["forwarder"],
    url: "unix:///x",
  });
  await assert.rejects(mallory.dialer.endpointRegistry(mesh.urls[0]).register(name, { signal: mesh.signal }), denied);
  const refusals = manager.output.split("\n").filter((line) => line.includes('"audit":"refused"'));
  assert.equal(refusals.length, 3, "a line each");
  assert.match(refusals[0] ?? "", /belongs to \\"spiffe:\/\/weft.test\/alice\\", not to \\"spiffe:\/\/weft.test\/mallory\\"/);

  const again = await onceForwarderIsBack(() => alice.request(connection));
  assert.deepEqual(idsOf(again), idsOf(connection), "the owner goes on with it");
  await alice.close(again);
  await manager.kill();
  await manager.start();
  // closed before the kill: nobody's any more; it is asked for as a new one
  const taken = await onceForwarderIsBack(() => mallory.request(elsewhere(connection)));
  assert.equal(taken.path?.path_segments[1]?.id, connection.path?.path_segments[1]?.id);
  await mallory.close(taken);
});

/** The forwarder registers again by itself, soon after the manager is back. */
async function onceForwarderIsBack<T>(ask: () => Promise<T>): Promise<T> {
  let answer: T | undefined;
  await until("the forwarder is registered again", async () => {
    try {
      answer = await ask();
      return true;
    } catch (error) {
      assert.equal(isStatusError(error) ? error.code : error, Code.UNAVAILABLE);
      return false;
    }
  });
  return answer as T;
}

/** What the thief sends: a path of its own up to the victim's id at the manager, and nothing of what comes behind it. */
function elsewhere(victim: Connection): Connection {
  const manager = victim.path?.path_segments[1];
  if (manager === undefined) throw new Error("no path");
  const path_segments = [{ name: "mallory", id: "m1", token: "", metrics: {}, expires: undefined }, manager];
  return { ...victim, id: "m1", network_service_endpoint_name: "", path: { index: 0, path_segments } };
}

function idsOf(connection: Connection): string[] {
  return connection.path?.path_segments.map(({ id }) => id) ?? [];
}
