/**
 * MEMIF on a forwarder: rings in shared memory with a workload. The side that answers listens: we towards the client, in the
 * client's network namespace; the endpoint towards us, in its own (NSM: mechanisms/memif).
 */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import { memifMechanism, memifParameter, memifSocketName, parseMemif } from "../../sdk/mechanisms/memif.js";
import { withParameters } from "../../sdk/mechanisms/parameters.js";
import { Code, statusError } from "../../sdk/status.js";
import { type MechanismKind, plain } from "./mechanism.js";

export function memifKind(): MechanismKind {
  return {
    ...plain,
    type: MechanismType.MEMIF,
    classes: [MechanismClass.LOCAL],
    payloads: [Payload.ETHERNET, Payload.IP],
    async accept(connection, mechanism) {
      parseMemif(mechanism, connection.id);
      return withParameters(mechanism, { [memifParameter.socketFile]: memifSocketName(connection.id) });
    },
    offer: async () => memifMechanism({}),
    clientPort(connection, mechanism) {
      const { netnsUrl, socketFile } = parseMemif(mechanism, connection.id);
      return { kind: "memif", role: "server", socketFile, netnsUrl };
    },
    endpointPort(connection, mechanism) {
      const { netnsUrl, socketFile } = parseMemif(mechanism, connection.id);
      if (socketFile === "" && netnsUrl === "") {
        throw statusError(
          Code.FAILED_PRECONDITION,
          `connection ${connection.id}: endpoint ${connection.network_service_endpoint_name} chose MEMIF and wrote no ` +
            `${memifParameter.socketFile} into it; it must give the socket on which it listens`,
        );
      }
      return { kind: "memif", role: "client", socketFile, netnsUrl };
    },
  };
}
