/** The mechanisms of this forwarder: those that its data plane builds, in its order, and NOOP. */
import { MechanismType } from "../sdk/api.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { kernelKind } from "./mechanisms/kernel.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import { memifKind } from "./mechanisms/memif.js";
import { noopKind } from "./mechanisms/noop.js";
import { unbuiltKinds } from "./mechanisms/unbuilt.js";
import { type VxlanOptions, vxlanKind } from "./mechanisms/vxlan.js";
import { wireguardKind } from "./mechanisms/wireguard.js";
import type { KeyRotation } from "./mechanisms/wireguard-rotation.js";
import type { WireguardEnds } from "./wireguard-ends.js";

export interface KindOptions extends Omit<VxlanOptions, "tunnelAddress" | "dataPlane"> {
  readonly dataPlane: DataPlane;
  /** Undefined = this node has none, and no tunnels. */
  readonly tunnelAddress: string | undefined;
  readonly wireguardEnds: WireguardEnds;
  /** Undefined = keys are kept for the life of a connection, unless the other side rotates. */
  readonly keyRotation?: KeyRotation | undefined;
}

export async function mechanismKinds(options: KindOptions): Promise<MechanismKind[]> {
  const { dataPlane, tunnelAddress, wireguardEnds: ends, keyRotation: rotation } = options;
  const known = [kernelKind()];
  if (dataPlane.name !== "none") known.push(memifKind());
  if (tunnelAddress !== undefined) known.push(vxlanKind({ ...options, tunnelAddress }));
  if (tunnelAddress !== undefined && dataPlane.name !== "none") {
    known.push(wireguardKind({ tunnelAddress, ends, rotation, dataPlane, pathMtus: options.pathMtus }));
  }
  if (dataPlane.name === "none") known.push(...unbuiltKinds(tunnelAddress ?? "127.0.0.1"));
  const available = await dataPlane.mechanisms();
  const built = available.flatMap((type) =>
    type === MechanismType.NOOP ? [] : (known.find((kind) => kind.type === type) ?? []),
  );
  return [...built, noopKind()];
}
