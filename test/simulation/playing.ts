/** A domain to which faults happen, what is known of it, and how parts of it end. */
import type { Chance } from "../../cli/chaos/random.js";
import type { Domain, Snapshot } from "./domain.js";
import type { Flat } from "./flat.js";
import { removePod } from "./kernel.js";
import type { Network } from "./network.js";
import type { DomainPlan, Part, SimClient, SimEndpoint } from "./part.js";
import type { World } from "./world.js";

export interface Playing {
  readonly world: World;
  readonly network: Network;
  readonly domain: Domain;
  readonly chance: Chance;
  readonly plan: DomainPlan;
  readonly broken: string[];
  readonly faults: string[];
  /** Something happened that packets cannot survive; until then none may be lost. */
  dataFault: boolean;
  /** A drain: clients may go to another endpoint, with no packet lost. */
  planned: boolean;
  /** The network or a process is in trouble just now. */
  faultUnderWay: boolean;
  /** Nothing may happen any more but what is due. */
  calm: boolean;
  /** Where the packets of a client came to last. */
  readonly watched: Map<string, string>;
  /** What the registry had stored some time ago. */
  snapshot: Snapshot | undefined;
  readonly flat: Flat;
}

/** Virtual time, in milliseconds. */
export const healedMs = 12_000;
export const longestWaitMs = 60_000;
const pollMs = 100;
const longestPollMs = 1_000;
/** A supervisor starts what has ended after so long. */
export const restartMs = { least: 250, most: 2_500 };

export type Faults = Readonly<Record<string, (state: Playing) => Promise<void>>>;

export const here = (endpoints: readonly SimEndpoint[]): SimEndpoint[] =>
  endpoints.filter(({ gone, replaced }) => !gone && !replaced);
export const running = (clients: readonly SimClient[]): SimClient[] => clients.filter(({ gone }) => !gone);

/** All machines: the nodes that there still are, and the registry's. */
export const nodesOf = ({ domain }: Playing): string[] => ["registry", ...domain.nsmgrs.map(({ node }) => node)];

export function cutBoth({ wire }: Network, one: string, other: string, isCut: boolean): void {
  wire.cut(one, other, isCut);
  wire.cut(other, one, isCut);
}

export async function untilNone(world: World, look: () => readonly string[], timeoutMs: number): Promise<boolean> {
  const endMs = world.nowMs() + timeoutMs;
  // what takes long may be noticed late
  for (let pauseMs = pollMs; look().length > 0; pauseMs = Math.min(pauseMs * 1.2, longestPollMs)) {
    if (world.nowMs() > endMs) return false;
    await world.sleep(pauseMs);
  }
  return true;
}

export function takePod(state: Playing, part: SimEndpoint): void {
  state.dataFault = true;
  if (part.process !== undefined) state.world.kill(part.process);
  removePod(state.domain.kernels, part.netnsUrl);
}

/** Its supervisor starts it, unless another fault has taken it away or somebody was faster. */
export function comeBack(part: Part & { readonly gone?: boolean; readonly replaced?: boolean }): void {
  if (part.process?.alive !== true && part.gone !== true && part.replaced !== true) part.start();
}

export async function killAll(state: Playing, parts: readonly Part[]): Promise<void> {
  const { world, chance, faults } = state;
  faults.push(`kill -9 ${parts.map(({ name }) => name).join(", ")}`);
  for (const { process } of parts) if (process !== undefined) world.kill(process);
  await world.sleep(chance.between(restartMs.least, restartMs.most));
  for (const part of chance.shuffle(parts)) {
    comeBack(part);
    await world.sleep(chance.between(0, 200));
  }
}

/** As SIGTERM: it ends itself, in its own time. */
export async function stopPart({ world }: Playing, part: Part): Promise<void> {
  const { process, stop } = part;
  if (process === undefined) return;
  part.ending = process;
  if (stop !== undefined) {
    await new Promise<void>((resolve) => {
      const limit = world.at(world.nowMs() + 10_000, undefined, resolve);
      world.at(world.nowMs(), process, () => {
        void stop()
          .catch(() => {})
          .then(() =>
            world.at(world.nowMs(), undefined, () => {
              limit.cancelled = true;
              resolve();
            }),
          );
      });
    });
  }
  world.kill(process);
}
