import { silentLog } from "../../../sdk/telemetry/log.js";
import { dataPlaneCompliance } from "../compliance.js";
import { createKernelDataPlane } from "./kernel.js";

dataPlaneCompliance("kernel", (stateDir) => createKernelDataPlane({ stateDir, log: silentLog }));
