import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt, runTool, socketName } from "../../native/testing/tool.js";
import { crossConnect, namespace, noSignal, numbered, stateFolder } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";

test("row 7.1: a restarted forwarder takes its memif connection up again, and the link has not noticed", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const stateDir = stateFolder(t);
  const socketPath = join(stateDir, "core");
  const socketFile = socketName("client");
  const memif = { kind: "memif", role: "server", socketFile, netnsUrl: client.url } as const;
  const made = crossConnect("c1", { client: memif, endpoint: numbered(client, endpoint).endpoint });
  const open = (): DataPlane => {
    const kernel = createKernelDataPlane({ stateDir, log: silentLog });
    const shape = { coreTunnels: false, directMemif: true, alwaysJoin: false };
    return createFastDataPlane({ stateDir, log: silentLog, kernel, openCore: () => openKeeperCore({ socketPath }), shape });
  };
  const first = open();
  await first.recover(0);
  await first.ensure(made, noSignal);
  const place = ["--socket", socketFile, "--netns", `/run/netns/${client.name}`, "--from", "172.16.0.1", "--to", "172.16.0.0"];
  const ping = runTool(t, ["ping", ...place, "--count", "1000000", "--interval", "0.01", "--seconds", "60"]);
  const answers = (): number => ping.lines.length;
  await ping.until(() => answers() > 5);
  await first.close();
  const whileAway = answers();
  await ping.until(() => answers() > whileAway + 5);

  const second = open();
  assert.deepEqual((await second.recover(0)).adopted, [made]);
  const core = await openKeeperCore({ socketPath });
  const entries = await core.list();
  assert.equal(entries.filter(({ kind }) => kind === "connect").length, 1);
  assert.deepEqual(
    entries.filter(({ kind }) => kind === "memif").map(({ slot }) => [core.board.link(slot), core.board.port(slot).breaks]),
    [["up", 0n]],
  );
  assert.equal(core.board.worker().starts, 1);
  await core.close();
  const afterwards = answers();
  await ping.until(() => answers() > afterwards + 5);
  await second.remove("c1", noSignal);
  assert.deepEqual([second.list(), await second.objects()], [[], []]);
  await second.close();
});
