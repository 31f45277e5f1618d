/** A forwarder that sees no process but its own: namespaces come to it as descriptors, and end with it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { listLinks } from "../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../sdk/linux/netlink/socket.js";
import type { TestNetns } from "../sdk/testing/netns.js";
import { until } from "../sdk/testing/until.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";

const isolated = { isolated: true };
const pairs = { local: ["172.16.1.1", "172.16.1.2"], remote: ["172.16.2.1", "172.16.2.2"] } as const;

for (const to of ["local", "remote"] as const) {
  test(`row 6.4: forwarders in PID namespaces of their own are killed with -9 and started again, ${to}: no ping is lost, close removes all`, async (t) => {
    const nodes = await createNodeProcesses(t, isolated);
    const before = nodes.inventory();
    await Promise.all([nodes.a.start(), nodes.b.start()]);
    let connection = await nodes.request(to);
    const [source, destination] = pairs[to];
    const flow = pingAlong(t, nodes.client.url, source, destination);
    for (const forwarder of [nodes.a, nodes.b]) {
      await flow.more(5);
      await forwarder.kill("SIGKILL");
      await flow.more(10);
      await forwarder.start();
      connection = await nodes.request(to, connection);
      await flow.more(5);
    }
    // Close without a refresh: what was adopted is removed, too.
    await nodes.a.kill("SIGKILL");
    await nodes.a.start();
    await flow.more(5);
    const { sent, lost } = await flow.stop();
    assert.ok(sent >= 45, `${sent} sent`);
    assert.equal(lost, 0, `of ${sent}`);
    await nodes.close(connection);
    await until("all interfaces are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
  });
}

test("row 1.29: what nobody refreshes is reclaimed by a restarted forwarder although no descriptor comes again", async (t) => {
  const nodes = await createNodeProcesses(t, isolated);
  const before = nodes.inventory();
  await nodes.a.start();
  await nodes.request("local", undefined, 4_000);
  assert.notDeepEqual(nodes.inventory(), before);
  await nodes.a.kill("SIGKILL");
  await nodes.a.start();
  await until("all interfaces are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before), 20_000);
});

test("a pod that is deleted takes its namespace along, whether the forwarder was restarted or not: nothing of ours keeps it", async (t) => {
  for (const restarted of [false, true]) {
    const nodes = await createNodeProcesses(t, isolated);
    await nodes.a.start();
    await nodes.request("local");
    assert.deepEqual(interfaces(nodes.endpoint), ["nse-local"]);
    if (restarted) {
      await nodes.a.kill("SIGKILL");
      await nodes.a.start();
    }
    nodes.client.close();
    // A pair of interfaces ends with the namespace of either.
    await until("the namespace has ended", () => interfaces(nodes.endpoint).length === 0, 20_000);
  }
});

function interfaces(netns: TestNetns): string[] {
  const socket = openNetlinkSocket(netns);
  try {
    return listLinks(socket).flatMap(({ name }) => (name === "lo" ? [] : [name]));
  } finally {
    socket.close();
  }
}
