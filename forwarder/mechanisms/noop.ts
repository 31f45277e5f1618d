/** NOOP on a forwarder: agreed upon, nothing to build. */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import { noopMechanism } from "../../sdk/mechanisms/noop.js";
import { type MechanismKind, plain } from "./mechanism.js";

export function noopKind(): MechanismKind {
  const port = () => ({ kind: "noop", mechanism: MechanismType.NOOP }) as const;
  return {
    ...plain,
    type: MechanismType.NOOP,
    classes: [MechanismClass.LOCAL, MechanismClass.REMOTE],
    payloads: [Payload.ETHERNET, Payload.IP],
    accept: async (_connection, mechanism) => mechanism,
    offer: async (_connection, cls) => noopMechanism(cls),
    clientPort: port,
    endpointPort: port,
  };
}
