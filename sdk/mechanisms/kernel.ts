/**
 * KERNEL: an ordinary network interface in the workload's namespace.
 * Keys and meaning: NSM api, mechanisms/kernel.
 */
import { MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { badInterfaceCharacter, fitInterfaceName, maxInterfaceNameBytes } from "./interface-name.js";
import { makeMechanism, readParameters, sharedParameter } from "./parameters.js";

export const kernelParameter = {
  /** URL of the network namespace, written by the workload about itself. */
  netns: sharedParameter.inodeUrl,
  interfaceName: sharedParameter.name,
  tokenId: sharedParameter.tokenId,
  pciAddress: sharedParameter.pciAddress,
  supportsVlan: "supportsVlan",
  /** 1 … 4094; when set, addresses, routes, neighbours and MTU are left to the workload. */
  vlan: "vlan",
  routeLocalNet: "routeLocalNet",
  /** Read by nobody here: it lets an endpoint choose the arguments of a command that root runs in another namespace. */
  iptablesTemplate: "IPTables4NatTemplate",
  /** "true": the interface is one end of a wire and gets no addresses, routes, neighbours and policies (our own key). */
  unnumbered: "unnumbered",
} as const;

/** How a process names its own network namespace; it is translated on the way out. */
export const ownNetnsUrl = "file:///proc/thread-self/ns/net";

const maxUrlLength = 4096;
/** A longer name than the kernel takes is shortened (clients may send it as the user wrote it), an absurd one refused. */
const maxAskedNameBytes = 255;
/** Length of "sriov-" and a UUID. */
const sriovTokenLength = 42;

export interface KernelParameters {
  readonly netnsUrl: string;
  /** 1 … 15 bytes; empty if whoever builds the interface is to choose. */
  readonly interfaceName: string;
  readonly vlan: number | undefined;
  readonly unnumbered: boolean;
  /** True when the workload asks for a virtual function of a network card. */
  readonly wantsVirtualFunction: boolean;
}

/** A KERNEL mechanism as a workload writes it. */
export function kernelMechanism(options: {
  readonly interfaceName?: string;
  readonly netnsUrl?: string;
  readonly unnumbered?: boolean;
}): Mechanism {
  return makeMechanism(MechanismClass.LOCAL, MechanismType.KERNEL, {
    [kernelParameter.netns]: options.netnsUrl ?? ownNetnsUrl,
    [kernelParameter.interfaceName]: options.interfaceName || undefined,
    [kernelParameter.unnumbered]: options.unnumbered === true ? "true" : undefined,
  });
}

/**
 * @throws INVALID_ARGUMENT when a parameter is malformed or the namespace is missing
 */
export function parseKernel(mechanism: Mechanism, connectionId: string): KernelParameters {
  const read = readParameters(mechanism, connectionId);
  const netnsUrl = read.text(kernelParameter.netns);
  if (netnsUrl === "" || netnsUrl.length > maxUrlLength) {
    throw read.refuse(kernelParameter.netns, "the URL of a network namespace, for example file:///run/netns/NAME");
  }
  const interfaceName = read.text(kernelParameter.interfaceName);
  if (badInterfaceCharacter(interfaceName) >= 0 || Buffer.byteLength(interfaceName) > maxAskedNameBytes) {
    throw read.refuse(
      kernelParameter.interfaceName,
      `a name of 1 to ${maxInterfaceNameBytes} bytes without "/", ":", "%" and white space`,
    );
  }
  const token = read.text(kernelParameter.tokenId);
  return {
    netnsUrl,
    interfaceName: fitInterfaceName(interfaceName),
    vlan: read.integer(kernelParameter.vlan, 1, 4094),
    unnumbered: read.boolean(kernelParameter.unnumbered),
    wantsVirtualFunction: token.startsWith("sriov-") && token.length === sriovTokenLength,
  };
}
