/** Builds a cross-connect in the VPP that lives now: parts beneath, ways for tunnels, interfaces, and what joins them. */
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { inodeUrl, type NetnsHandle } from "../../../sdk/linux/netns.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { VppApi } from "../../vpp/client.js";
import type { VppHost } from "../../vpp/host.js";
import type { CrossConnect, DataPlane } from "../dataplane.js";
import { type Joint, join } from "./joints.js";
import { withNeighbors } from "./l3.js";
import { createPatchBay, readyWorkload } from "./patch.js";
import { type Patch, patchMac, type ReadyPort, readyPort } from "./ports.js";
import { openSession, type Session, type SessionOptions } from "./session.js";
import { digest, isPart, partId, partOf, patchPort, type Side, sides, type Tagger } from "./shape.js";
import { createTunnels } from "./tunnels.js";

export interface Builder {
  /** The session with the VPP that lives; one is started when there is none. */
  reach(): Promise<Session>;
  /** The session, if there is one. */
  live(): Session | undefined;
  /** Forgets the session, and gives it for what remains to be done with it. */
  leave(): Session | undefined;
  /** Whatever of it is there stays. @throws a status; then the caller builds what was before */
  build(crossConnect: CrossConnect, shape: Joint["shape"], before: Joint | undefined, signal: AbortSignal): Promise<Joint>;
  /** Takes away what the cross-connect has and does not need (any more), outside of its joint. */
  clear(id: string, unlessIn: CrossConnect | undefined): Promise<void>;
  /** @param isEnd  nothing is left that needs it */
  close(isEnd: boolean): void;
}

const never: AbortSignal = new AbortController().signal;

export function createBuilder(needs: {
  readonly host: VppHost;
  readonly beneath: DataPlane;
  readonly home: NetnsHandle;
  readonly own: NetlinkSocket;
  readonly tagger: Tagger;
  readonly log: Log;
  readonly apiSocket: string;
  readonly changed: SessionOptions["changed"];
}): Builder {
  const { host, beneath, home, own, tagger, log, apiSocket, changed } = needs;
  const patches = createPatchBay(home, own, `wvb${digest(tagger.prefix).slice(0, 12)}`, log);
  const tunnels = createTunnels({ home, own, tagger, log });
  let session: { readonly api: VppApi; readonly opened: Promise<Session> } | undefined;
  let live: Session | undefined;
  let partGeneration = Date.now();

  async function reach(): Promise<Session> {
    const api = await host.get();
    if (session?.api !== api) {
      session = {
        api,
        opened: openSession(api, { apiSocket: apiSocket, prefix: tagger.prefix, log, changed }),
      };
      tunnels.forget();
    }
    try {
      live = await session.opened;
      return live;
    } catch (error) {
      session = undefined;
      throw error;
    }
  }

  async function ensurePart(
    crossConnect: CrossConnect,
    shape: Joint["shape"],
    side: Side,
    signal: AbortSignal,
  ): Promise<Patch | undefined> {
    const port = crossConnect[side];
    if (!isPart(port)) return undefined;
    const { id } = crossConnect;
    const wanted = shape === "l3" ? withNeighbors(port, patchMac(id, side)) : port;
    const name = tagger.patch(id, side);
    const patch = patchPort(name, inodeUrl(home));
    await beneath.ensure(partOf(crossConnect, side, wanted, patch, ++partGeneration), signal);
    return { name, index: patches.ready(name), workloadMac: readyWorkload(port) };
  }

  async function build(
    crossConnect: CrossConnect,
    shape: Joint["shape"],
    before: Joint | undefined,
    signal: AbortSignal,
  ): Promise<Joint> {
    const { api, stock } = await reach();
    const ready: Partial<Record<Side, ReadyPort>> = {};
    for (const side of sides) {
      const port = crossConnect[side];
      const patch = await ensurePart(crossConnect, shape, side, signal);
      ready[side] = readyPort(crossConnect, side, patch, tagger);
      if (port.kind === "vxlan" || port.kind === "wireguard") await tunnels.open(api, stock, partId(crossConnect.id, side), port);
    }
    return await join(api, crossConnect, { shape, ready: ready as Record<Side, ReadyPort>, stock }, before);
  }

  async function clear(id: string, unlessIn: CrossConnect | undefined): Promise<void> {
    for (const side of sides) {
      const kind = unlessIn?.[side].kind;
      if (kind !== "vxlan" && kind !== "wireguard") await tunnels.shut(host.current(), partId(id, side));
      if (kind !== "kernel") await beneath.remove(partId(id, side), never);
    }
  }

  return {
    reach,
    live: () => live,
    leave() {
      const left = live;
      live = undefined;
      return left;
    },
    build,
    clear,
    close(isEnd) {
      tunnels.close();
      if (isEnd) patches.remove();
    },
  };
}
