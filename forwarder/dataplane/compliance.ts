/**
 * What every data plane that moves packets must do, with real packets between real namespaces.
 */
import { test } from "node:test";
import { changes } from "./compliance-changes.js";
import { localConnections, remoteConnections } from "./compliance-connections.js";
import { refusals, refusedValues } from "./compliance-refusals.js";
import { type Define, type MakeDataPlane, type Start, stateFolder } from "./compliance-world.js";

export function dataPlaneCompliance(name: string, make: MakeDataPlane): void {
  const define: Define = (text, run) => void test(`${name}: ${text}`, run);
  const start: Start = (t) => {
    const dataPlane = make(stateFolder(t));
    t.after(() => dataPlane.close());
    return dataPlane;
  };
  localConnections(define, start);
  remoteConnections(define, make);
  changes(define, start);
  refusals(define, start);
  refusedValues(define, start);
}
