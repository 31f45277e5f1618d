import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openInProcessCore } from "../../native/in-process.js";
import { coreProgram, openKeeperCore } from "../../native/keeper-client.js";
import { dataPlaneCompliance } from "../compliance.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";
import type { ShapeOptions } from "./shape.js";

/** Every packet through the core, and every tunnel ended by it. */
const allOfIt: ShapeOptions = { coreTunnels: true, directMemif: false, alwaysJoin: true };

if (existsSync(coreProgram())) {
  dataPlaneCompliance("fast, core in this process", (stateDir) => make(stateDir, async () => openInProcessCore()));
  dataPlaneCompliance("fast, core in a keeper", (stateDir) =>
    make(stateDir, () => openKeeperCore({ socketPath: join(stateDir, "keeper"), ephemeral: true })),
  );
} else {
  test("data plane fast", { skip: 'the packet core is not built: run "npm run build:native"' }, () => {});
}

function make(stateDir: string, openCore: Parameters<typeof createFastDataPlane>[0]["openCore"]): DataPlane {
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  return createFastDataPlane({ stateDir, log: silentLog, kernel, openCore, shape: allOfIt, ephemeral: true });
}
