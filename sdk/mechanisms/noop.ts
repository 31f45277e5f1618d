/** NOOP: a connection that is agreed upon and has no interface. No parameters (NSM api, mechanisms/noop). */
import { type MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { makeMechanism } from "./parameters.js";

export function noopMechanism(cls: MechanismClass): Mechanism {
  return makeMechanism(cls, MechanismType.NOOP, {});
}
