/** A data plane for tests of the control side: keeps what it is told, builds nothing, fails on demand. */
import { MechanismType } from "../../sdk/api.js";
import type { Counters, CrossConnect, DataPlane, DataPlaneEvent } from "../dataplane/dataplane.js";

export interface RecordingDataPlane extends DataPlane {
  readonly built: Map<string, CrossConnect>;
  readonly ensured: CrossConnect[];
  /** VNIs that somebody else has. */
  readonly foreignVnis: Set<number>;
  /** Called before each ensure; throws to make it fail. */
  refuse: (crossConnect: CrossConnect) => void;
  underlayMtu: number;
  counted: Counters | undefined;
  emit(event: DataPlaneEvent): void;
}

export function recordingDataPlane(
  mechanisms: readonly MechanismType[] = [MechanismType.KERNEL, MechanismType.VXLAN],
): RecordingDataPlane {
  const built = new Map<string, CrossConnect>();
  const listeners = new Set<(event: DataPlaneEvent) => void>();
  const plane: RecordingDataPlane = {
    name: "recording",
    built,
    ensured: [],
    foreignVnis: new Set(),
    refuse: () => {},
    underlayMtu: 1500,
    counted: undefined,
    emit: (event) => {
      for (const listener of listeners) listener(event);
    },
    capabilities: async () => [{ name: "recording", supported: "yes", detail: "for tests" }],
    mechanisms: async () => mechanisms,
    underlayMtuBytes: async () => plane.underlayMtu,
    async usedVnis(udpPort) {
      const own = [...built.values()].flatMap(({ client, endpoint }) => [client, endpoint]);
      return new Set([
        ...plane.foreignVnis,
        ...own.flatMap((port) => (port.kind === "vxlan" && port.udpPort === udpPort ? [port.vni] : [])),
      ]);
    },
    async ensure(crossConnect, signal) {
      signal.throwIfAborted();
      plane.refuse(crossConnect);
      plane.ensured.push(crossConnect);
      built.set(crossConnect.id, crossConnect);
    },
    async remove(id) {
      built.delete(id);
    },
    list: () => [...built.values()],
    counters: async () => plane.counted,
    objects: async () => [],
    recover: async () => ({ adopted: [...built.values()], reclaimed: [], lost: [] }),
    async *events(signal) {
      const pending: DataPlaneEvent[] = [];
      let wake = (): void => {};
      const listener = (event: DataPlaneEvent): void => {
        pending.push(event);
        wake();
      };
      listeners.add(listener);
      const stop = (): void => wake();
      signal.addEventListener("abort", stop);
      try {
        while (!signal.aborted) {
          const event = pending.shift();
          if (event !== undefined) yield event;
          else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      } finally {
        listeners.delete(listener);
        signal.removeEventListener("abort", stop);
      }
    },
    close: async () => {},
  };
  return plane;
}
