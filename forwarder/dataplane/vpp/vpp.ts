/**
 * VPP as data plane (docs/vpp.md): memif, VXLAN and WireGuard end in VPP, kernel interfaces are brought to it by the data plane
 * beneath (shape.ts), and VPP joins them. VPP holds no truth: it is told everything again when it has died, and what it still has
 * after a restart of ours is found by tags and taken over as it is.
 *
 * Operations on one cross-connect run one after another. A failed one puts back what was there.
 */
import { existsSync } from "node:fs";
import { join as joinPath } from "node:path";
import { MechanismType } from "../../../sdk/api.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { openOwnNetns } from "../../../sdk/linux/netns.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { Definitions } from "../../vpp/codec.js";
import { createVppHost, type VppTimes } from "../../vpp/host.js";
import { pause } from "../../vpp/process.js";
import { placesIn, type VppSizes } from "../../vpp/start-conf.js";
import type { CrossConnect, DataPlane } from "../dataplane.js";
import { createEventBus } from "../event-bus.js";
import { openFastBook } from "../fast/book.js";
import { createTurns } from "../turns.js";
import { createBuilder } from "./builder.js";
import { capabilitiesOf, objectsOf, samePorts, vxlanPorts } from "./facts.js";
import { type Joint, part, vniTaken } from "./joints.js";
import { createLinks } from "./links.js";
import { sweep } from "./session.js";
import { ownerOf, type Shape, shapeOf, taggerFor } from "./shape.js";
import { createTally } from "./tally.js";

export interface VppDataPlaneOptions {
  readonly stateDir: string;
  readonly log: Log;
  /** For interfaces of the kernel, and for what VPP has no part in. */
  readonly beneath: DataPlane;
  /** Program of VPP with first arguments; absent: another's VPP at `apiSocket`. */
  readonly command?: readonly string[] | undefined;
  readonly apiSocket?: string | undefined;
  readonly definitions?: Definitions | undefined;
  /** memif workloads of one node share their rings, where the data plane beneath can do that. */
  readonly directMemif?: boolean;
  readonly processEnv?: Readonly<Record<string, string>> | undefined;
  readonly sizes?: VppSizes;
  readonly times?: VppTimes;
  /** VPP ends with us: for tests. */
  readonly ephemeral?: boolean;
}

export interface Held {
  readonly crossConnect: CrossConnect;
  readonly shape: Exclude<Shape, "beneath">;
  readonly joint: Joint;
}

const never: AbortSignal = new AbortController().signal;
/** Between attempts to reach a VPP that is lost. */
const againMs = 250;
/** VPP works on one call at a time; this keeps it busy. */
const rebuildersAtOnce = 16;

/** The namespace it is called in becomes the forwarder's, in which VPP runs and tunnels end. */
export function createVppDataPlane(options: VppDataPlaneOptions): DataPlane {
  const { beneath, log, stateDir, directMemif = true } = options;
  const book = openFastBook(joinPath(stateDir, "vpp-cross-connects"));
  const home = openOwnNetns();
  const own = openNetlinkSocket(home);
  const tagger = taggerFor(stateDir);
  const ours = placesIn(joinPath(stateDir, "vpp"), `weft-${tagger.prefix.slice(5, 15)}`);
  const places = options.apiSocket === undefined ? ours : { ...ours, apiSocket: options.apiSocket };
  const held = new Map<string, Held>();
  const pending = new Map<string, CrossConnect>();
  const inTurn = createTurns();
  const bus = createEventBus();
  const tally = createTally();
  let closed = false;
  const links = createLinks({ held: () => held.values(), up: () => builder.live()?.up ?? new Set(), bus });
  const { command, definitions, sizes, times, processEnv: env = {} } = options;
  const host = createVppHost({
    command,
    places,
    home,
    log,
    env,
    definitions,
    ...(sizes && { sizes }),
    ...(times && { times }),
    lost: () => void rebuild(),
  });
  const builder = createBuilder({ host, beneath, home, own, tagger, log, apiSocket: places.apiSocket, changed: links.changed });
  const { reach, build, clear } = builder;

  /** Everything again, in a VPP that is new or back. */
  async function rebuild(): Promise<void> {
    tally.carry(held, builder.leave());
    while (!closed && held.size > 0) {
      try {
        await reach();
        break;
      } catch (error) {
        log.error("VPP cannot be reached; trying again", { error });
        await pause(againMs);
      }
    }
    const ids = [...held.keys()];
    const work = async (): Promise<void> => {
      for (let id = ids.shift(); id !== undefined; id = ids.shift()) await again(id);
    };
    await Promise.all(Array.from({ length: rebuildersAtOnce }, work));
    const session = builder.live();
    if (session !== undefined && !closed) await sweep(session).catch(() => {});
  }

  async function again(id: string): Promise<void> {
    await inTurn(id, async () => {
      const current = held.get(id);
      if (current === undefined || closed) return;
      held.set(id, { ...current, joint: await build(current.crossConnect, current.shape, undefined, never) });
    }).catch((error: unknown) => {
      log.error("a cross-connect could not be given to VPP again", { connectionId: id, error });
      bus.tell({ kind: "broken", id, reason: "VPP was lost, and the connection could not be made again" });
    });
  }

  async function raise(crossConnect: CrossConnect, shape: Held["shape"], signal: AbortSignal): Promise<void> {
    const { id } = crossConnect;
    const before = held.get(id);
    const same = before !== undefined && before.shape === shape && samePorts(before.crossConnect, crossConnect);
    if (!same) book.begin(crossConnect);
    pending.set(id, crossConnect);
    try {
      const joint = await build(crossConnect, shape, before?.joint, signal);
      if (before !== undefined) await clear(id, crossConnect);
      held.set(id, { crossConnect, shape, joint });
      if (same) book.update(crossConnect);
      else book.commit(id);
    } catch (error) {
      await putBack(id, before);
      if (!same) book.abandon(id);
      throw error;
    } finally {
      pending.delete(id);
    }
  }

  async function putBack(id: string, before: Held | undefined): Promise<void> {
    try {
      if (before === undefined) return await clear(id, undefined);
      held.set(id, { ...before, joint: await build(before.crossConnect, before.shape, before.joint, never) });
      await clear(id, before.crossConnect);
    } catch (error) {
      log.warn("could not put back what was there", { connectionId: id, error });
    }
  }

  async function lower(id: string): Promise<void> {
    const current = held.get(id);
    if (current === undefined) return;
    links.forget(id);
    book.retire(id);
    const api = host.current();
    if (api !== undefined) await part(api, current.joint);
    await clear(id, undefined);
    book.remove(id);
    held.delete(id);
    tally.forget(id);
  }

  async function ensure(crossConnect: CrossConnect, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { id, generation } = crossConnect;
    const known = (held.get(id)?.crossConnect ?? beneath.list().find((each) => each.id === id))?.generation;
    if (known !== undefined && generation < known) {
      const text = `cross-connect ${id}: generation ${generation} is older than ${known}; a later request has won`;
      throw statusError(Code.ABORTED, text);
    }
    const shape = shapeOf(crossConnect, { directMemif });
    if (shape === "beneath") {
      await lower(id);
      return await beneath.ensure(crossConnect, signal);
    }
    checkVnis(crossConnect);
    if (!held.has(id)) await beneath.remove(id, signal);
    await raise(crossConnect, shape, signal);
  }

  function checkVnis(crossConnect: CrossConnect): void {
    const others = [...[...held.values()].map((each) => each.crossConnect), ...pending.values()].filter(
      ({ id }) => id !== crossConnect.id,
    );
    const taken = new Set(others.flatMap(vxlanPorts).map(({ vni, udpPort }) => `${vni} ${udpPort}`));
    for (const { vni, udpPort } of vxlanPorts(crossConnect)) if (taken.has(`${vni} ${udpPort}`)) throw vniTaken(vni, udpPort);
  }

  async function recover(nowMs: number) {
    const found = await beneath.recover(nowMs);
    const adopted = found.adopted.filter(({ id }) => ownerOf(id) === id);
    const reclaimed = found.reclaimed.map((each) => ({ ...each, connectionId: ownerOf(each.connectionId) }));
    const { committed, interrupted, unfinished } = book.load();
    const lost = [...found.lost.filter(({ id }) => ownerOf(id) === id), ...unfinished];
    for (const crossConnect of committed) {
      const { id } = crossConnect;
      try {
        if (crossConnect.expiresAtMs <= nowMs) throw statusError(Code.NOT_FOUND, "it has expired");
        await raise(crossConnect, shapeOf(crossConnect, { directMemif }) as Held["shape"], never);
        adopted.push(crossConnect);
      } catch (error) {
        log.info("a cross-connect of VPP is not taken up again", { connectionId: id, error });
        reclaimed.push(...objectsOf(crossConnect));
        lost.push(crossConnect);
        book.remove(id);
      }
    }
    for (const id of interrupted) if (!held.has(id)) book.remove(id);
    for (const { id } of found.adopted) if (ownerOf(id) !== id && !held.has(ownerOf(id))) await beneath.remove(id, never);
    // A VPP that runs already may hold what nobody knows of any more.
    if (existsSync(places.apiSocket)) {
      const gone = await reach().then(sweep);
      reclaimed.push(...gone.map((name) => ({ kind: "vpp-interface", name, netnsUrl: "", connectionId: "" })));
    }
    return { adopted, reclaimed, lost };
  }

  return {
    name: "vpp",
    async capabilities() {
      const known = await beneath.capabilities();
      return [...known.filter(({ name }) => name !== "memif"), ...(await capabilitiesOf(host, places.apiSocket, command))];
    },
    async mechanisms() {
      const { api } = await reach();
      const known = (await beneath.mechanisms()).filter((type) => type === MechanismType.KERNEL);
      const memif = api.offers("memif_create") || api.offers("memif_create_v2") ? [MechanismType.MEMIF] : [];
      const vxlan = api.offers("vxlan_add_del_tunnel_v3") ? [MechanismType.VXLAN] : [];
      const wireguard = api.offers("wireguard_peer_add") && api.offers("l3xc_update") ? [MechanismType.WIREGUARD] : [];
      return [...known, ...memif, ...vxlan, ...wireguard];
    },
    underlayMtuBytes: beneath.underlayMtuBytes,
    async usedVnis(udpPort) {
      const all = [...[...held.values()].map(({ crossConnect }) => crossConnect), ...pending.values()].flatMap(vxlanPorts);
      const vnis = all.filter((port) => port.udpPort === udpPort).map(({ vni }) => vni);
      return new Set([...vnis, ...(await beneath.usedVnis(udpPort))]);
    },
    ensure: (crossConnect, signal) => inTurn(crossConnect.id, () => ensure(crossConnect, signal)),
    remove: (id, signal) =>
      inTurn(id, async () => {
        signal.throwIfAborted();
        if (held.has(id)) await lower(id);
        else await beneath.remove(id, signal);
      }),
    list: () => [
      ...[...held.values()].map(({ crossConnect }) => crossConnect),
      ...beneath.list().filter(({ id }) => ownerOf(id) === id),
    ],
    async counters(id) {
      const current = held.get(id);
      return current === undefined ? await beneath.counters(id) : tally.counters(current, builder.live());
    },
    async objects() {
      const theirs = (await beneath.objects()).map((each) => ({ ...each, connectionId: ownerOf(each.connectionId) }));
      return [...[...held.values()].flatMap(({ crossConnect }) => objectsOf(crossConnect)), ...theirs];
    },
    recover,
    events: (signal) => bus.merge(beneath.events(signal), ownerOf, signal),
    hasRoomBeside: async (id) => (await beneath.hasRoomBeside?.(id)) === true,
    isBesideProven: async (id) => (await beneath.isBesideProven?.(id)) === true,
    async close() {
      closed = true;
      links.close();
      const isEnd = options.ephemeral === true || held.size === 0;
      builder.close(isEnd);
      await host.close(isEnd);
      builder.leave()?.stats?.close();
      await beneath.close();
      own.close();
      home.close();
    },
  };
}
