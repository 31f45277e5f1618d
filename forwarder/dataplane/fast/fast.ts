/**
 * The packet core as data plane, with the kernel's beside it: memif rings, VXLAN and interfaces joined by our own worker
 * (docs/fast-path.md). What needs no core is built by the kernel data plane alone; what does is brought to the core in parts
 * (shape.ts).
 *
 * Operations on one cross-connect run one after another. A failed one puts back what was there.
 */
import { join as joinPath } from "node:path";
import { openOwnNetns } from "../../../sdk/linux/netns.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { PacketCore } from "../../native/core.js";
import type { Counters, CrossConnect, DataPlane, OwnedObject } from "../dataplane.js";
import { createTurns } from "../turns.js";
import { capabilitiesOf, mechanismsOf, underlayMtuOf } from "./abilities.js";
import { openFastBook } from "./book.js";
import { describeSide, type PortNeeds } from "./core-ports.js";
import { createFastEvents } from "./events.js";
import { createCoreHost } from "./host.js";
import { type Joint, join, part, sweep } from "./joints.js";
import { createPatchRoom, patchRoomName } from "./patch-room.js";
import { isPart, ownerOf, partId, partOf, type Shape, type ShapeOptions, shapeOf, sides } from "./shape.js";
import type { Underlay, UnderlayChoice } from "./underlay.js";
import { located, type Whereabouts, whereaboutsOf } from "./whereabouts.js";

export interface FastDataPlaneOptions {
  readonly stateDir: string;
  readonly log: Log;
  /** For interfaces, and for tunnels that the core does not end. */
  readonly kernel: DataPlane;
  readonly openCore: () => Promise<PacketCore>;
  /** Why the core cannot be used; undefined = it can. */
  readonly obstacle?: string | undefined;
  /** Name in reports. */
  readonly name?: string;
  readonly shape: ShapeOptions;
  readonly underlay?: UnderlayChoice | undefined;
  /** The core and its namespace end with us: for tests. */
  readonly ephemeral?: boolean;
}

export interface Held {
  readonly crossConnect: CrossConnect;
  readonly shape: Exclude<Shape, "whole">;
  readonly joint: Joint;
  readonly whereabouts: Whereabouts;
}

export function createFastDataPlane(options: FastDataPlaneOptions): DataPlane {
  const { kernel, log, shape: shaping, stateDir } = options;
  const book = openFastBook(joinPath(stateDir, "fast"));
  const home = openOwnNetns();
  const underlay = deviceOf(options);
  const needs = needsOf(options, home.fd);
  const held = new Map<string, Held>();
  const inTurn = createTurns();
  const events = createFastEvents({ held: () => held, board: () => host.current()?.board });
  const host = createCoreHost({ ...options, changed: events.look, lost: () => void rebuild() });
  let partGeneration = Date.now();

  /** Every joint again, in a core that is new. */
  async function rebuild(): Promise<void> {
    for (const id of [...held.keys()]) {
      await inTurn(id, async () => {
        const current = held.get(id);
        if (current === undefined) return;
        const joint = await join(
          await host.get(),
          located(current.crossConnect, current.whereabouts),
          current.shape,
          undefined,
          needs,
        );
        held.set(id, { ...current, joint });
      }).catch((error: unknown) =>
        log.error("a cross-connect could not be given to the new packet core", { connectionId: id, error }),
      );
    }
  }

  async function ensureParts(crossConnect: CrossConnect, signal: AbortSignal): Promise<void> {
    for (const side of sides) {
      if (isPart(crossConnect[side], shaping))
        await kernel.ensure(partOf(crossConnect, side, needs.room.url(), ++partGeneration), signal);
    }
  }

  async function raise(
    crossConnect: CrossConnect,
    shape: Held["shape"],
    before: Held | undefined,
    signal: AbortSignal,
    found?: Whereabouts, // by an earlier run, whose parts are adopted already
  ): Promise<void> {
    const { id } = crossConnect;
    const whereabouts = found ?? whereaboutsOf(crossConnect);
    const same = before !== undefined && before.shape === shape && samePorts(before.crossConnect, crossConnect);
    if (!same) book.begin(crossConnect, whereabouts);
    try {
      const core = await host.get();
      if (shape === "joined" && found === undefined) await ensureParts(crossConnect, signal);
      const joint = await join(core, located(crossConnect, whereabouts), shape, before?.joint, needs);
      if (before !== undefined) await withoutParts(options, id, shape === "joined" ? crossConnect : undefined);
      held.set(id, { crossConnect, shape, joint, whereabouts });
      if (same) book.update(crossConnect, whereabouts);
      else book.commit(id);
    } catch (error) {
      await putBack(id, before);
      if (!same) book.abandon(id);
      throw error;
    }
  }

  async function putBack(id: string, before: Held | undefined): Promise<void> {
    try {
      if (before === undefined) return await withoutParts(options, id, undefined);
      if (before.shape === "joined") await ensureParts(before.crossConnect, never);
      await withoutParts(options, id, before.shape === "joined" ? before.crossConnect : undefined);
      const there = located(before.crossConnect, before.whereabouts);
      held.set(id, { ...before, joint: await join(await host.get(), there, before.shape, before.joint, needs) });
    } catch (error) {
      log.warn("could not put back what was there", { connectionId: id, error });
    }
  }

  async function lower(id: string): Promise<void> {
    const current = held.get(id);
    if (current === undefined) return;
    book.retire(id);
    const core = host.current();
    if (core !== undefined) await part(core, current.joint);
    await withoutParts(options, id, undefined);
    book.remove(id);
    held.delete(id);
    events.forget(id);
  }

  async function ensure(crossConnect: CrossConnect, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { id, generation } = crossConnect;
    const before = held.get(id);
    const known = (before?.crossConnect ?? kernel.list().find((each) => each.id === id))?.generation;
    if (known !== undefined && generation < known) {
      throw statusError(
        Code.ABORTED,
        `cross-connect ${id}: generation ${generation} is older than ${known}; a later request has won`,
      );
    }
    const shape = shapeOf(crossConnect, shaping);
    if (shape === "whole") {
      await lower(id);
      await kernel.ensure(crossConnect, signal);
      return;
    }
    if (options.obstacle !== undefined) {
      const what = sides.map((side) => describeSide(crossConnect[side])).join(" to ");
      throw statusError(Code.FAILED_PRECONDITION, `${what}: ${options.obstacle}`);
    }
    if (before === undefined) await kernel.remove(id, signal);
    await raise(crossConnect, shape, before, signal);
    events.track(id);
  }

  async function recover(nowMs: number) {
    const found = await kernel.recover(nowMs);
    const parts = new Set(found.adopted.map(({ id }) => id));
    const adopted = found.adopted.filter(({ id }) => ownerOf(id) === id);
    const reclaimed = found.reclaimed.map((each) => ({ ...each, connectionId: ownerOf(each.connectionId) }));
    const { committed, interrupted, unfinished } = book.load();
    const lost = [...found.lost.filter(({ id }) => ownerOf(id) === id), ...unfinished];
    for (const crossConnect of committed) {
      const { id } = crossConnect;
      const whole = sides.every((side) => !isPart(crossConnect[side], shaping) || parts.has(partId(id, side)));
      try {
        if (crossConnect.expiresAtMs <= nowMs || !whole)
          throw statusError(Code.NOT_FOUND, "it has expired, or a part of it is gone");
        await raise(crossConnect, shapeOf(crossConnect, shaping) as Held["shape"], undefined, never, book.whereabouts(id));
        events.track(id);
        adopted.push(crossConnect);
      } catch (error) {
        log.info("a cross-connect of the packet core is not taken up again", { connectionId: id, error });
        reclaimed.push(...coreObjects(crossConnect));
        lost.push(crossConnect);
        book.remove(id);
      }
    }
    for (const id of interrupted) if (!held.has(id)) book.remove(id);
    for (const id of parts) if (ownerOf(id) !== id && !held.has(ownerOf(id))) await kernel.remove(id, never);
    const core = committed.length + interrupted.length > 0 && options.obstacle === undefined ? await host.get() : undefined;
    if (core !== undefined)
      await sweep(
        core,
        [...held.values()].map(({ joint }) => joint),
      );
    return { adopted, reclaimed, lost };
  }

  return {
    name: options.name ?? "fast",
    capabilities: async () => [...(await kernel.capabilities()), ...capabilitiesOf(options, underlay)],
    async mechanisms() {
      const known = await kernel.mechanisms();
      return options.obstacle === undefined ? mechanismsOf(known, shaping, underlay) : known;
    },
    limitsTraffic: options.obstacle === undefined,
    tunnelAddress: underlay?.address,
    underlayMtuBytes: (localAddress) => underlayMtuOf(localAddress, underlay, kernel),
    async usedVnis(udpPort) {
      const ports = [...held.values()].flatMap(({ crossConnect }) => [crossConnect.client, crossConnect.endpoint]);
      const own = ports.flatMap((port) => (port.kind === "vxlan" && port.udpPort === udpPort ? [port.vni] : []));
      return new Set([...own, ...(await kernel.usedVnis(udpPort))]);
    },
    ensure: (crossConnect, signal) => inTurn(crossConnect.id, () => ensure(crossConnect, signal)),
    remove: (id, signal) =>
      inTurn(id, async () => {
        signal.throwIfAborted();
        if (held.has(id)) await lower(id);
        else await kernel.remove(id, signal);
      }),
    list: () => listOf(held, kernel),
    async counters(id) {
      const current = held.get(id);
      return current === undefined ? await kernel.counters(id) : countersOf(current, host.current());
    },
    async objects() {
      const kernels = (await kernel.objects()).map((each) => ({ ...each, connectionId: ownerOf(each.connectionId) }));
      return [...[...held.values()].flatMap(({ crossConnect }) => coreObjects(crossConnect)), ...kernels];
    },
    recover,
    events: (signal) => events.merge(kernel.events(signal), signal),
    hasRoomBeside: async (id) => (await kernel.hasRoomBeside?.(id)) === true,
    isBesideProven: async (id) => (await kernel.isBesideProven?.(id)) === true,
    async close() {
      events.close();
      const empty = held.size === 0;
      await host.close(options.ephemeral === true || empty);
      await kernel.close();
      if (options.ephemeral === true || empty) needs.room.remove();
      home.close();
    },
  };
}

const never: AbortSignal = new AbortController().signal;

function deviceOf({ underlay }: FastDataPlaneOptions): Underlay | undefined {
  return underlay !== undefined && "device" in underlay ? underlay.device : undefined;
}

function needsOf(options: FastDataPlaneOptions, homeFd: number): PortNeeds {
  const room = createPatchRoom(patchRoomName(options.stateDir));
  const home = { homePath: `/proc/${process.pid}/fd/${homeFd}`, options: options.shape };
  return { underlay: deviceOf(options), room, ...home };
}

/** Takes away what the kernel brings to the core for it, but for what `unlessIn` needs. */
async function withoutParts(
  { kernel, shape }: FastDataPlaneOptions,
  id: string,
  unlessIn: CrossConnect | undefined,
): Promise<void> {
  for (const side of sides) {
    const kept = unlessIn !== undefined && isPart(unlessIn[side], shape);
    if (!kept) await kernel.remove(partId(id, side), never);
  }
}

function listOf(held: ReadonlyMap<string, Held>, kernel: DataPlane): CrossConnect[] {
  const whole = kernel.list().filter(({ id }) => ownerOf(id) === id);
  return [...[...held.values()].map(({ crossConnect }) => crossConnect), ...whole];
}

/** "tx" is what comes from the client. A proxy has no packets of its own to count. */
function countersOf({ joint }: Held, core: PacketCore | undefined): Counters | undefined {
  if (joint.connect === undefined || core === undefined) return undefined;
  const [out, back] = [core.board.direction(joint.connect, "ab"), core.board.direction(joint.connect, "ba")];
  const drops = [out, back].map((way) => way.dropFull + way.dropMtu + way.dropPolicer + way.dropBad + way.dropDown);
  return {
    txPackets: out.packets,
    txBytes: out.bytes,
    rxPackets: back.packets,
    rxBytes: back.bytes,
    drops: (drops[0] ?? 0n) + (drops[1] ?? 0n),
  };
}

function samePorts(one: CrossConnect, other: CrossConnect): boolean {
  const seen = ({ client, endpoint, mtuBytes, payload, traffic }: CrossConnect): string =>
    JSON.stringify([client, endpoint, mtuBytes, payload, traffic]);
  return seen(one) === seen(other);
}

function coreObjects({ id: connectionId, client, endpoint }: CrossConnect): OwnedObject[] {
  return [client, endpoint].flatMap((port): OwnedObject[] => {
    if (port.kind === "memif")
      return [{ kind: "socket", name: `memif ${port.socketFile}`, netnsUrl: port.netnsUrl, connectionId }];
    return port.kind === "vxlan" ? [{ kind: "vni", name: `${port.vni} port ${port.udpPort}`, netnsUrl: "", connectionId }] : [];
  });
}
