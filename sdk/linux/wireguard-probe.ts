/** Whether payload IP can be encrypted between nodes here: found out by starting wireguard-go in a namespace of its own. */
import type { MachineCapability } from "./capabilities.js";
import { type NetnsHandle, openNewNetns } from "./netns.js";
import { endWireguardGo, findWireguardGo, newDeviceName, startWireguardGo, wireguardRemedy } from "./wireguard-go.js";

const purpose = "encrypted connections between nodes (payload IP)";

/** @param find  where the program is */
export async function probeWireguard(find = findWireguardGo): Promise<MachineCapability> {
  const name = "wireguard";
  if (find() === undefined) {
    return { name, supported: "no", detail: `wireguard-go is missing: ${purpose}; ${wireguardRemedy}` };
  }
  const device = newDeviceName();
  let netns: NetnsHandle | undefined;
  try {
    netns = openNewNetns();
    await startWireguardGo(netns, device);
    return { name, supported: "yes", detail: `wireguard-go made an interface: ${purpose}` };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { name, supported: "no", detail: `${reason}; it needs CAP_NET_ADMIN, /dev/net/tun and a writable /var/run/wireguard` };
  } finally {
    netns?.close();
    await endWireguardGo(device);
  }
}
