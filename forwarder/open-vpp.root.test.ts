/** The data plane vpp as the settings of a forwarder name it; a server of ours stands for VPP. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { readSettings } from "../sdk/config/table.js";
import { Code } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { forwarderSettings } from "./config.js";
import { stateFolder } from "./dataplane/compliance-world.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { openDataPlane } from "./open-data-plane.js";
import { startFakeVpp } from "./vpp/testing/fake-vpp.js";

function open(env: Readonly<Record<string, string>>): Promise<DataPlane> {
  const read = readSettings({ name: "weft forwarder", summary: "" }, forwarderSettings, { argv: [], env });
  assert.ok(read.ok);
  return openDataPlane(read.values, { log: silentLog, env });
}

test("row 1.20: with an API socket the forwarder uses the VPP behind it and says so", async (t) => {
  const folder = stateFolder(t);
  const vpp = await startFakeVpp({ socketPath: join(folder, "api.sock") });
  t.after(() => vpp.close());
  const env = { WEFT_DATAPLANE: "vpp", WEFT_VPP_API_SOCKET: vpp.socketPath, WEFT_STATE_DIR: join(folder, "state") };
  const plane = await open(env);
  t.after(() => plane.close());
  assert.equal(plane.name, "vpp");
  assert.deepEqual(await plane.mechanisms(), ["KERNEL", "MEMIF", "VXLAN", "WIREGUARD"]);
  const line = (await plane.capabilities()).find(({ name }) => name === "vpp");
  assert.deepEqual(line, {
    name: "vpp",
    supported: "yes",
    detail: `VPP 26.06-fake, another's (process ${process.pid}), API socket ${vpp.socketPath}, ${vpp.messages} messages`,
  });
});

test("without a VPP it does not start, and says how to get one", async (t) => {
  const env = { WEFT_DATAPLANE: "vpp", WEFT_VPP: "/nowhere/vpp", WEFT_STATE_DIR: stateFolder(t) };
  for (let again = 0; again < 2; again++) {
    await assert.rejects(open(env), {
      code: Code.FAILED_PRECONDITION,
      details: /no program \/nowhere\/vpp; install VPP .*WEFT_VPP.*WEFT_VPP_API_SOCKET/,
    });
  }
  const long = { ...env, WEFT_VPP_API_SOCKET: `/${"x".repeat(110)}` };
  await assert.rejects(open(long), {
    details: /more than 107 bytes/,
  });
});
