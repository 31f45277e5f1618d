/**
 * Manager and forwarder of a node in one process: their chains are the same as ever, and where one calls the other it is a
 * call of a function (sdk/transport/joined.ts). Both are still reachable over their sockets, for workloads, for other
 * forwarders of the node and for other nodes.
 */
import { type RunningForwarder, startForwarder } from "../forwarder/start.js";
import { type NsmgrDeps, type RunningNsmgr, startNsmgr } from "../nsmgr/main.js";
import { createHealth } from "../sdk/telemetry/health.js";
import { joinedTransport } from "../sdk/transport/joined.js";
import { forwarderConfigOf, type NodeConfig, nsmgrConfigOf } from "./config.js";

export type NodeDeps = Omit<NsmgrDeps, "transport">;

export interface RunningNode {
  readonly nsmgr: RunningNsmgr;
  readonly forwarder: RunningForwarder;
  /** As the manager's, then the forwarder's. */
  readonly urls: readonly string[];
  /** The forwarder first, so that its manager hears of it. Connections stay and carry packets. */
  stop(): Promise<void>;
}

/** @throws as startNsmgr and startForwarder */
export async function startNode(config: NodeConfig, deps: NodeDeps): Promise<RunningNode> {
  const transport = joinedTransport();
  const nsmgr = await startNsmgr(nsmgrConfigOf(config), { ...deps, transport });
  try {
    const unix = nsmgr.urls.find((url) => url.startsWith("unix:")) ?? nsmgr.urls[0] ?? "";
    const settings = forwarderConfigOf(config, unix);
    // the manager tells of its forwarders in its own health
    const log = deps.log.child({ part: settings.name });
    const forwarder = await startForwarder(settings, { ...deps, log, health: createHealth(), transport });
    return {
      nsmgr,
      forwarder,
      urls: [...nsmgr.urls, ...forwarder.urls],
      async stop() {
        await forwarder.stop();
        await nsmgr.stop();
      },
    };
  } catch (error) {
    await nsmgr.stop();
    throw error;
  }
}
