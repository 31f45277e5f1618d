/** Forwarders as processes with a real VPP each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Payload } from "../sdk/api.js";
import { icmpEcho } from "../sdk/linux/icmp-echo.js";
import { until } from "../sdk/testing/until.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";
import { findRealVpp } from "./vpp/testing/real-vpp.js";

const { program, skip } = findRealVpp(process.env);
const env = { WEFT_DATAPLANE: "vpp", WEFT_VPP: program };

for (const payload of [Payload.ETHERNET, Payload.IP]) {
  const title = `rows 1.2, 1.3, 7.1: forwarders with VPP are killed with -9 and started again while packets flow, payload ${payload}: none is lost`;
  test(title, { skip }, async (t) => {
    const nodes = await createNodeProcesses(t, { env, payload });
    const before = nodes.inventory();
    await Promise.all([nodes.a.start(), nodes.b.start()]);
    const connections = { local: await nodes.request("local"), remote: await nodes.request("remote") };
    // VPP drops the packet that makes it shake hands with its peer (WireGuard).
    const [source, destination] = ["172.16.2.1", "172.16.2.2"];
    const ask = { netnsUrl: nodes.client.url, source, destination, payloadBytes: 16, timeoutMs: 500 };
    await until("the first answer", () =>
      icmpEcho({ ...ask, signal: AbortSignal.timeout(1_000) }).then((found) => found !== undefined),
    );
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
    for (const forwarder of [nodes.a, nodes.b]) await forwarder.kill("SIGTERM");
    await until("all links are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
  });
}
