/** KERNEL on a forwarder: an interface in the workload's namespace, with what the connection's context says. */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import type { Connection, Mechanism } from "../../sdk/gen/connection.js";
import { generateInterfaceName } from "../../sdk/mechanisms/interface-name.js";
import { kernelParameter, parseKernel } from "../../sdk/mechanisms/kernel.js";
import { makeMechanism, withParameters } from "../../sdk/mechanisms/parameters.js";
import { Code, statusError } from "../../sdk/status.js";
import type { KernelPort } from "../dataplane/dataplane.js";
import { kernelPort } from "../kernel-port.js";
import { type MechanismKind, plain } from "./mechanism.js";

export function kernelKind(): MechanismKind {
  return {
    ...plain,
    type: MechanismType.KERNEL,
    classes: [MechanismClass.LOCAL],
    payloads: [Payload.ETHERNET, Payload.IP],
    async accept(connection, mechanism) {
      const { interfaceName, wantsVirtualFunction } = parseKernel(mechanism, connection.id);
      if (wantsVirtualFunction) {
        throw statusError(
          Code.FAILED_PRECONDITION,
          `connection ${connection.id} asks for a virtual function (tokenID), and this forwarder has none; ` +
            "label the service so that a forwarder with SR-IOV is chosen",
        );
      }
      return withParameters(mechanism, { [kernelParameter.interfaceName]: interfaceName || generatedName(connection) });
    },
    async offer() {
      return makeMechanism(MechanismClass.LOCAL, MechanismType.KERNEL, {});
    },
    clientPort: (connection, mechanism) => port("client", connection, mechanism),
    endpointPort: (connection, mechanism) => port("endpoint", connection, mechanism),
  };
}

function port(end: "client" | "endpoint", connection: Connection, mechanism: Mechanism): KernelPort {
  const parameters = parseKernel(mechanism, connection.id);
  return kernelPort({
    end,
    connectionId: connection.id,
    firstSegmentId: connection.path?.path_segments[0]?.id ?? connection.id,
    parameters,
    interfaceName: parameters.interfaceName || generatedName(connection),
    context: connection.context,
  });
}

function generatedName(connection: Connection): string {
  return generateInterfaceName(connection.network_service, connection.id);
}
