/** What can make WireGuard interfaces, and why it cannot on this machine. For tests. */
import { kernelWireguard, probeMachine } from "../../sdk/linux/capabilities.js";
import { probeWireguard } from "../../sdk/linux/wireguard-probe.js";
import type { TunnelBackend } from "../dataplane/kernel/tuns.js";

export interface TestedBackend {
  readonly backend: TunnelBackend;
  readonly by: string;
  /** False: its tests run. */
  readonly skip: false | string;
}

/** Both; the program may be missing, and an ordinary user may not be allowed to open /dev/net/tun. */
export async function tunnelBackends(): Promise<readonly TestedBackend[]> {
  const program = await probeWireguard();
  const kernel = (await probeMachine()).find(({ name }) => name === kernelWireguard);
  return [
    { backend: "program", by: "wireguard-go", skip: program.supported === "yes" ? false : program.detail },
    { backend: "kernel", by: "the kernel", skip: kernel?.supported === "yes" ? false : (kernel?.detail ?? "not probed") },
  ];
}
