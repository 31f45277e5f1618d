import { withNetns } from "../../../sdk/linux/netns.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { type Cleanup, type Namespace, stateFolder } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "./kernel.js";

/** A kernel data plane at home in that namespace, for one test. */
export function planeIn(t: Cleanup, { netns }: Namespace): DataPlane {
  const plane = withNetns(netns, () => createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog }));
  t.after(() => plane.close());
  return plane;
}
