/** What every part of a simulated domain has in common: a process that can die and be started again. */

import type { Change } from "../../sdk/client/changes.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import type { Serving } from "../../sdk/endpoint/serve.js";
import { type Log, silentLog } from "../../sdk/telemetry/log.js";
import type { Kernels } from "./kernel.js";
import type { Network } from "./network.js";
import type { SimProcess, World } from "./world.js";

export interface Part {
  readonly name: string;
  readonly node: string;
  process: SimProcess | undefined;
  /** Starts it, as its supervisor would. */
  start(): void;
  /** Ends it as SIGTERM would; resolves when it has ended. */
  stop: (() => Promise<void>) | undefined;
  /** This process was told to end: whoever told it starts the next one, not the supervisor. */
  ending?: SimProcess;
}

export interface SimEndpoint extends Part {
  readonly netnsUrl: string;
  readonly cidr: string;
  readonly stateDir: string;
  serving: Serving | undefined;
  /** It and its pod are gone for good. */
  gone: boolean;
  /** Another process has its name now, in another pod. */
  replaced: boolean;
  /** It has the name of one that was there before. */
  readonly moved: boolean;
  /** It has ended by itself or because it was told to. */
  ended: boolean;
}

export interface SimClient extends Part {
  readonly netnsUrl: string;
  readonly interfaceName: string;
  connection: ClientConnection | undefined;
  /** It has had a connection since it was started for the first time, or after it was told to end. */
  granted: boolean;
  readonly changes: Change[];
  /** Nobody has started it yet, or it was killed and does not come back, or it is told to end. */
  gone: boolean;
  /** In trouble, as its own events say. */
  troubled: boolean;
  /** Processes that were taken for dead, and whose place another one has taken. */
  readonly former: { readonly process: SimProcess; readonly connection: ClientConnection; over: boolean }[];
}

export interface DomainPlan {
  readonly nodes: number;
  readonly endpoints: readonly number[];
  readonly clients: readonly number[];
  /** So many of the clients are started while faults happen, or after them. */
  readonly late: number;
  /** The registry keeps its entries over a restart, as with lmdb. */
  readonly durableRegistry: boolean;
  readonly tokenLifeMs: number;
  /** Nothing but planned ends: no packet is lost, and nothing has to expire. */
  readonly gentle: boolean;
  /** The clients look themselves whether packets pass; without, they have nothing but the mesh's word. */
  readonly probe: boolean;
  /** Their check has no end of its own on a path by which nothing has come yet. */
  readonly probeHangs: boolean;
  /** No process is killed: nothing has to expire. */
  readonly alive: boolean;
  readonly log?: (process: string) => Log;
}

export interface Shared {
  readonly world: World;
  readonly network: Network;
  readonly plan: DomainPlan;
  readonly kernels: Kernels;
  readonly folder: string;
}

export const nsmgrUrl = (node: string): string => `unix:///${node}/nsmgr`;
export const registryUrl = "tcp://10.0.0.254:5002";

export const service = "simulated";

/** Runs a start in the part's own process; what it throws ends that process, and its supervisor starts it again. */
export function launch(shared: Shared, part: Part, run: (process: SimProcess, log: Log) => Promise<() => Promise<void>>): void {
  const { world, plan } = shared;
  const process = world.start(part.name, part.node);
  part.process = process;
  part.stop = undefined;
  const log = plan.log?.(part.name) ?? silentLog;
  world.at(world.nowMs(), process, () => {
    run(process, log).then(
      (stop) => {
        if (process.alive) part.stop = stop;
      },
      () => {
        if (!process.alive || part.process !== process || part.ending === process) return;
        world.kill(process);
        world.at(world.nowMs() + 250, undefined, () => {
          if (part.process === process) part.start();
        });
      },
    );
  });
}
