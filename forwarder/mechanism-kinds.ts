/** The mechanisms of this forwarder: those that its data plane builds, in its order, and NOOP. */
import { MechanismType } from "../sdk/api.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { kernelKind } from "./mechanisms/kernel.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import { noopKind } from "./mechanisms/noop.js";
import { unbuiltKinds } from "./mechanisms/unbuilt.js";
import { type VxlanOptions, vxlanKind } from "./mechanisms/vxlan.js";

export async function mechanismKinds(options: VxlanOptions & { readonly dataPlane: DataPlane }): Promise<MechanismKind[]> {
  const { dataPlane, tunnelAddress } = options;
  const written = [kernelKind(), vxlanKind(options)];
  const known = dataPlane.name === "none" ? [...written, ...unbuiltKinds(tunnelAddress)] : written;
  const available = await dataPlane.mechanisms();
  const built = available.flatMap((type) =>
    type === MechanismType.NOOP ? [] : (known.find((kind) => kind.type === type) ?? []),
  );
  return [...built, noopKind()];
}
