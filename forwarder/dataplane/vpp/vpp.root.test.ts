import { test } from "node:test";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { findRealVpp } from "../../vpp/testing/real-vpp.js";
import { dataPlaneCompliance } from "../compliance.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createVppDataPlane } from "./vpp.js";

const { program, skip } = findRealVpp(process.env);

if (skip === false) {
  dataPlaneCompliance("vpp", (stateDir) => {
    const beneath = createKernelDataPlane({ stateDir, log: silentLog });
    return createVppDataPlane({ stateDir, log: silentLog, beneath, command: [program], directMemif: false, ephemeral: true });
  });
} else {
  test("data plane vpp", { skip }, () => {});
}
