/**
 * The Linux kernel as data plane: a veth pair between two namespaces of this node, or a VXLAN interface in a workload's
 * namespace whose tunnel ends in the forwarder's (no bridge on the way). Spoken to over rtnetlink only. For packets that
 * must be encrypted: a TUN interface of a wireguard-go process (docs/decisions/0008).
 *
 * Operations on one cross-connect run one after another; those on different ones do not wait for each other.
 */
import { join } from "node:path";
import { MechanismType } from "../../../sdk/api.js";
import { kernelWireguard, probeMachine, programWireguard } from "../../../sdk/linux/capabilities.js";
import { lockFile } from "../../../sdk/linux/lock-file.js";
import { listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import { getLink, listLinks } from "../../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { openOwnNetns } from "../../../sdk/linux/netns.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { Capability, CrossConnect, DataPlane } from "../dataplane.js";
import { createTurns } from "../turns.js";
import { addressOf } from "./address-of.js";
import { openBook } from "./book.js";
import { type Built, objectsOf } from "./built.js";
import { countersOf } from "./counters.js";
import { bringAbout } from "./ensure.js";
import { createHealth } from "./health.js";
import { markOf, markVariable } from "./mark.js";
import { createPingGroups } from "./ping-groups.js";
import { type Places, withPlaces } from "./places.js";
import { createReaper } from "./reaper.js";
import { recoverAll } from "./recover.js";
import { refusalOf } from "./refusal.js";
import { hasRoomBeside, isBesideProven } from "./tunnel.js";
import type { TunnelBackend } from "./tuns.js";
import { demolish, type Workshop } from "./wire.js";

export interface KernelDataPlaneOptions {
  /** Folder for the ledger; made when missing. One data plane at a time. */
  readonly stateDir: string;
  readonly log: Log;
  /** Environment of the processes that are started and outlive this one; `weft down` finds them by it. */
  readonly processEnv?: Readonly<Record<string, string>> | undefined;
  /** What makes tunnels for payload IP; absent: the kernel where it can, else wireguard-go. */
  readonly tunnels?: TunnelBackend | undefined;
}

/**
 * The namespace it is called in becomes the forwarder's: tunnels end there.
 * @throws ALREADY_EXISTS when another data plane uses the folder
 */
export function createKernelDataPlane({ stateDir, log, processEnv = {}, tunnels }: KernelDataPlaneOptions): DataPlane {
  const book = openBook(join(stateDir, "cross-connects"), log);
  const unlock = lockFile(join(stateDir, "dataplane.lock"), `the data plane's ledger in ${stateDir}`);
  const group = markOf(stateDir);
  const env = { ...processEnv, [markVariable]: String(group) };
  const home = openOwnNetns();
  const own = openNetlinkSocket(home);
  const reaper = createReaper();
  const pings = createPingGroups(log);
  const underWay = new Set<Built>();
  const built = new Map<string, Built>();
  const pending = new Map<string, CrossConnect>();
  const inTurn = createTurns();
  let probing: Promise<readonly Capability[]> | undefined;
  const capabilities = (): Promise<readonly Capability[]> => {
    probing ??= probeMachine();
    return probing;
  };
  const works = async (name: string): Promise<boolean> =>
    (await capabilities()).some((each) => each.name === name && each.supported === "yes");
  const tunnelBackend = async (): Promise<TunnelBackend> => tunnels ?? ((await works(kernelWireguard)) ? "kernel" : "program");
  const supplies = { home, own, reaper, group, processEnv: env, tunnelBackend };
  const shopOf = (places: Places): Workshop => ({ places, ...supplies });

  const health = createHealth({
    home,
    own,
    log,
    all: () => built.values(),
    inTurn(id, look) {
      const looking = inTurn(id, async () => {
        const current = built.get(id);
        if (current !== undefined) await look(current);
      });
      looking.catch((error: unknown) => log.warn("could not look at a cross-connect", { connectionId: id, error }));
    },
  });

  const ensure = async (crossConnect: CrossConnect): Promise<void> => {
    const { id, generation } = crossConnect;
    const before = built.get(id);
    if (before !== undefined && generation < before.crossConnect.generation) {
      const known = before.crossConnect.generation;
      throw statusError(
        Code.ABORTED,
        `cross-connect ${id}: generation ${generation} is older than ${known}; a later request has won`,
      );
    }
    pending.set(id, crossConnect);
    try {
      await withPlaces(supplies, async (places) => {
        try {
          const after = await bringAbout({ shop: shopOf(places), book, log, pings, underWay }, crossConnect, before);
          built.set(id, after);
          health.track(after, places);
        } finally {
          pings.settle(id, built.get(id)?.links ?? [], places);
        }
      });
    } finally {
      pending.delete(id);
    }
  };
  const remove = async (id: string): Promise<void> => {
    const current = built.get(id);
    if (current === undefined) return;
    health.forget(id);
    await withPlaces(supplies, async (places) => {
      await demolish(shopOf(places), [...current.links, ...current.leftovers], { rules: true, renamed: true });
      pings.settle(id, [], places);
    });
    book.remove(id);
    built.delete(id);
  };
  return {
    name: "kernel",
    capabilities,
    async mechanisms() {
      const wireguard = { kernel: kernelWireguard, program: programWireguard }[await tunnelBackend()];
      return [
        ...((await works("veth")) ? [MechanismType.KERNEL] : []),
        ...((await works("vxlan")) ? [MechanismType.VXLAN] : []),
        ...((await works(wireguard)) ? [MechanismType.WIREGUARD] : []),
      ];
    },
    underlayMtuBytes: async (localAddress) => {
      const address = addressOf(listAddresses(own), localAddress);
      const link = address && getLink(own, address.linkIndex);
      if (link === undefined)
        throw statusError(Code.NOT_FOUND, `no interface of the forwarder has the address ${localAddress}; check NSM_TUNNEL_IP`);
      return link.mtuBytes;
    },
    usedVnis: async (udpPort) => {
      const ours = [...[...built.values()].map(({ crossConnect }) => crossConnect), ...pending.values()].flatMap(
        ({ client, endpoint }) => [client, endpoint],
      );
      const vnis = ours.flatMap((port) => (port.kind === "vxlan" && port.udpPort === udpPort ? [port.vni] : []));
      const others = listLinks(own).flatMap(({ vxlan }) => (vxlan?.udpPort === udpPort ? [vxlan.vni] : []));
      return new Set([...vnis, ...others]);
    },
    ensure: (crossConnect, signal) =>
      inTurn(crossConnect.id, async () => {
        signal.throwIfAborted();
        await ensure(crossConnect).catch((error: unknown) => {
          throw refusalOf(error, `cross-connect ${crossConnect.id}`);
        });
      }),
    remove: (id, signal) =>
      inTurn(id, async () => {
        signal.throwIfAborted();
        await remove(id).catch((error: unknown) => {
          throw refusalOf(error, `remove cross-connect ${id}`);
        });
      }),
    list: () => [...built.values()].map(({ crossConnect }) => crossConnect),
    counters: async (id) => await countersOf(supplies, built.get(id)),
    objects: async () => [...built.values()].flatMap(objectsOf),
    async recover(nowMs) {
      const { adopted, reclaimed, lost } = await recoverAll({ book, log, pings, ...supplies, nowMs });
      for (const each of adopted) built.set(each.crossConnect.id, each);
      return { adopted: adopted.map(({ crossConnect }) => crossConnect), reclaimed, lost };
    },
    events: (signal) => health.events(signal),
    hasRoomBeside: async (id) => hasRoomBeside(supplies, built.get(id)),
    isBesideProven: (id) => isBesideProven(supplies, built.get(id)),
    async close() {
      health.close();
      await reaper.idle();
      book.close();
      own.close();
      home.close();
      unlock();
    },
  };
}
