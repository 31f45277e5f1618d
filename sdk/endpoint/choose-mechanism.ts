/**
 * choose-mechanism — how the connection reaches this process.
 * Does:   keeps the mechanism already chosen, else takes the first preference it can serve; KERNEL gets our network
 *         namespace and, when nobody named it, an interface name; MEMIF our namespace and the socket to listen on
 * Fails:  FAILED_PRECONDITION when nothing that is offered fits
 */
import { type ConnectionApi, MechanismType } from "../api.js";
import type { Element } from "../chain.js";
import type { Mechanism } from "../gen/connection.js";
import { fitInterfaceName, generateInterfaceName } from "../mechanisms/interface-name.js";
import { kernelParameter } from "../mechanisms/kernel.js";
import { memifParameter, memifSocketName } from "../mechanisms/memif.js";
import { withParameters } from "../mechanisms/parameters.js";
import { Code, statusError } from "../status.js";

export interface MechanismOptions {
  /** In this order they are looked for nowhere: the client's order decides. */
  readonly types: readonly MechanismType[];
  /** Namespace that gets the interfaces. */
  readonly netnsUrl: string;
  /** Adds parameters to KERNEL, as `unnumbered`. */
  readonly kernelParameters?: Readonly<Record<string, string>>;
}

export function chooseMechanism({ types, netnsUrl, kernelParameters = {} }: MechanismOptions): Element<ConnectionApi> {
  const canServe = (mechanism: Mechanism): boolean => types.some((type) => type === mechanism.type);

  function own(mechanism: Mechanism, service: string, connectionId: string): Mechanism {
    if (mechanism.type === MechanismType.MEMIF) {
      // The answering side listens: whoever runs this endpoint opens that socket (`onConnection` tells it).
      return withParameters(mechanism, {
        [memifParameter.netns]: netnsUrl,
        [memifParameter.socketFile]: memifSocketName(connectionId),
      });
    }
    if (mechanism.type !== MechanismType.KERNEL) return mechanism;
    const given = Object.hasOwn(mechanism.parameters, kernelParameter.interfaceName)
      ? (mechanism.parameters[kernelParameter.interfaceName] ?? "")
      : "";
    return withParameters(mechanism, {
      ...kernelParameters,
      [kernelParameter.netns]: netnsUrl,
      [kernelParameter.interfaceName]: given === "" ? generateInterfaceName(service, connectionId) : fitInterfaceName(given),
    });
  }

  return {
    name: "choose-mechanism",
    steps: {
      async request(request, _context, rest) {
        const { connection, mechanism_preferences } = request;
        const offered = connection?.mechanism === undefined ? mechanism_preferences : [connection.mechanism];
        const mechanism = offered.find(canServe);
        if (connection === undefined || mechanism === undefined) {
          const names = offered.map(({ cls, type }) => `${cls}/${type}`).join(", ") || "none";
          throw statusError(
            Code.FAILED_PRECONDITION,
            `no mechanism in common: offered ${names}, this endpoint serves ${types.join(", ")}`,
          );
        }
        const chosen = own(mechanism, connection.network_service, connection.id);
        return rest.request({ ...request, connection: { ...connection, mechanism: chosen } });
      },
    },
  };
}
