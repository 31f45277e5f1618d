/** The underlays of all tunnels, with their filters and held ports: there while a tunnel needs them. */
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { VppApi } from "../../vpp/client.js";
import type { VxlanPort, WireguardPort } from "../dataplane.js";
import { createTurns } from "../turns.js";
import { removeInterface } from "./interfaces.js";
import type { Inventory } from "./inventory.js";
import { holdPort, type Pinhole, setPinholes } from "./pinholes.js";
import type { Tagger } from "./shape.js";
import { linkWith, raiseUnderlay, tellNextHop, type Underlay } from "./underlay.js";

export type TunnelPort = VxlanPort | WireguardPort;

export interface Tunnels {
  /** Opens the way for a tunnel. Asked again it changes nothing. @throws a status; then nothing is left of it */
  open(api: VppApi, stock: Inventory, owner: string, port: TunnelPort): Promise<void>;
  /** The tunnel is gone. An underlay that no other needs goes as well. */
  shut(api: VppApi | undefined, owner: string): Promise<void>;
  /** VPP is another one: nothing of what was made is there. */
  forget(): void;
  close(): void;
}

export function createTunnels(needs: {
  readonly home: NetnsHandle;
  readonly own: NetlinkSocket;
  readonly tagger: Tagger;
  readonly log: Log;
}): Tunnels {
  const { home, own, tagger, log } = needs;
  const wanted = new Map<string, { readonly linkName: string; readonly hole: Pinhole }>();
  const underlays = new Map<string, Underlay>();
  const held = new Map<string, { close(): void }>();
  const inTurn = createTurns();
  const keyOf = ({ localAddress, localPort }: Pinhole): string => `${localAddress} ${localPort}`;

  async function fit(api: VppApi, { swIfIndex, linkName, made }: Underlay): Promise<void> {
    const holes = [...wanted.values()].filter((each) => each.linkName === linkName).map(({ hole }) => hole);
    const distinct = [...new Map(holes.map((hole) => [JSON.stringify(hole), hole])).values()];
    const tag = tagger.tag(linkName, "filter", []);
    await setPinholes(api, { swIfIndex, tag, isShared: made !== undefined }, distinct);
  }

  function release(hole: Pinhole): void {
    if ([...wanted.values()].some((each) => keyOf(each.hole) === keyOf(hole))) return;
    held.get(keyOf(hole))?.close();
    held.delete(keyOf(hole));
  }

  async function open(api: VppApi, stock: Inventory, owner: string, port: TunnelPort): Promise<void> {
    const hole = holeOf(port);
    const { name: linkName } = linkWith(own, port.localAddress);
    const before = wanted.get(owner);
    if (!held.has(keyOf(hole))) held.set(keyOf(hole), holdPort(home, hole));
    wanted.set(owner, { linkName, hole });
    try {
      const known = underlays.get(linkName);
      const underlay = known ?? (await raiseUnderlay({ api, own, tagger, stock }, port.localAddress));
      underlays.set(linkName, underlay);
      const isNew = known === undefined || JSON.stringify(before?.hole) !== JSON.stringify(hole);
      if (isNew) await Promise.all([fit(api, underlay), tellNextHop({ api, own }, underlay, port.remoteAddress)]);
    } catch (error) {
      if (before === undefined) await shut(api, owner);
      else wanted.set(owner, before);
      release(hole);
      throw error;
    }
    if (before !== undefined) release(before.hole);
  }

  async function shut(api: VppApi | undefined, owner: string): Promise<void> {
    const gone = wanted.get(owner);
    if (gone === undefined) return;
    wanted.delete(owner);
    release(gone.hole);
    const underlay = underlays.get(gone.linkName);
    if (underlay === undefined || api === undefined) return;
    try {
      await fit(api, underlay);
      if ([...wanted.values()].some(({ linkName }) => linkName === gone.linkName)) return;
      underlays.delete(gone.linkName);
      if (underlay.made !== undefined) await removeInterface(api, underlay.made);
    } catch (error) {
      log.warn("the underlay of a tunnel could not be cleaned up in VPP", { link: gone.linkName, error });
    }
  }

  return {
    open: (api, stock, owner, port) => inTurn("all", () => open(api, stock, owner, port)),
    shut: (api, owner) => inTurn("all", () => shut(api, owner)),
    forget: () => underlays.clear(),
    close() {
      for (const socket of held.values()) socket.close();
      held.clear();
    },
  };
}

function holeOf(port: TunnelPort): Pinhole {
  const { localAddress } = port;
  return port.kind === "vxlan"
    ? { localAddress, localPort: port.udpPort, remotePort: port.udpPort }
    : { localAddress, localPort: port.listenPort, remotePort: port.remotePort };
}
