/**
 * A data plane that negotiates every mechanism and builds nothing: for benchmarks and tests of the control plane.
 * It remembers what it was asked for, so that everything above it behaves as usual.
 */
import { MechanismType } from "../../sdk/api.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CrossConnect, DataPlane } from "./dataplane.js";

const underlayMtuBytes = 1500;

export function createNoDataPlane(): DataPlane {
  const crossConnects = new Map<string, CrossConnect>();
  return {
    name: "none",
    capabilities: async () => [{ name: "packets", supported: "no", detail: "started with --dataplane none: nothing is built" }],
    mechanisms: async () => [
      MechanismType.KERNEL,
      MechanismType.MEMIF,
      MechanismType.VXLAN,
      MechanismType.WIREGUARD,
      MechanismType.IPSEC,
      MechanismType.VLAN,
      MechanismType.VFIO,
      MechanismType.NOOP,
    ],
    underlayMtuBytes: async () => underlayMtuBytes,
    usedVnis: async (udpPort) =>
      new Set(
        [...crossConnects.values()].flatMap(({ client, endpoint }) =>
          [client, endpoint].flatMap((port) => (port.kind === "vxlan" && port.udpPort === udpPort ? [port.vni] : [])),
        ),
      ),
    async ensure(crossConnect, signal) {
      signal.throwIfAborted();
      const before = crossConnects.get(crossConnect.id);
      if (before !== undefined && crossConnect.generation < before.generation) {
        throw statusError(
          Code.ABORTED,
          `cross-connect ${crossConnect.id}: generation ${crossConnect.generation} is older than ${before.generation}`,
        );
      }
      crossConnects.set(crossConnect.id, crossConnect);
    },
    async remove(id) {
      crossConnects.delete(id);
    },
    list: () => [...crossConnects.values()],
    counters: async () => undefined,
    objects: async () => [],
    recover: async () => ({ adopted: [], reclaimed: [], lost: [] }),
    async *events(signal) {
      if (signal.aborted) return;
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    },
    async close() {
      crossConnects.clear();
    },
  };
}
