/** Endpoints and clients of a simulated domain: the SDK's serve and connect, each in a process and a pod of its own. */
import { join } from "node:path";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { connect } from "../../sdk/client/connect.js";
import type { LivenessCheck } from "../../sdk/client/liveness.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { Code, statusError } from "../../sdk/status.js";
import { pathFrom } from "./kernel.js";
import { modelNetns } from "./model-netns.js";
import { launch, nsmgrUrl, type Shared, type SimClient, type SimEndpoint, service } from "./part.js";
import type { SimProcess } from "./world.js";

function podOf(shared: Shared, name: string): string {
  const { path } = modelNetns(name);
  const url = `file://${path}`;
  shared.kernels.pods.add(url);
  return url;
}

/** @param again  so often its name was taken over by a new pod */
export function endpointPart(shared: Shared, node: string, index: number, again = 0): SimEndpoint {
  const name = `nse-${index + 1}`;
  const pod = again === 0 ? name : `${name}-${again}`;
  const netnsUrl = podOf(shared, pod);
  const cidr = `172.16.${index}.0/24`;
  const stateDir = join(shared.folder, pod);
  const part: SimEndpoint = {
    name,
    node,
    netnsUrl,
    cidr,
    stateDir,
    process: undefined,
    stop: undefined,
    serving: undefined,
    gone: false,
    replaced: false,
    moved: again > 0,
    ended: false,
    start: () =>
      launch(shared, part, async (process, log) => {
        part.serving = undefined;
        shared.kernels.pods.add(netnsUrl);
        const serving = await serve({
          name,
          services: [service],
          cidrs: [[cidr]],
          nsmgr: nsmgrUrl(node),
          listenOn: [`unix:///${node}/${pod}`],
          netns: netnsUrl,
          stateDir,
          onConnection: () => welcome(shared),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          transport: shared.network.transportOf(process),
          log,
          signal: new AbortController().signal,
        });
        part.serving = serving;
        part.ended = false;
        void serving.closed.then(() => {
          if (part.serving === serving) part.ended = true;
        });
        return () => serving.close();
      }),
  };
  return part;
}

export function clientPart(shared: Shared, node: string, index: number): SimClient {
  const name = `client-${index + 1}`;
  const netnsUrl = podOf(shared, name);
  const interfaceName = "nsm-1";
  const part: SimClient = {
    name,
    node,
    netnsUrl,
    interfaceName,
    process: undefined,
    stop: undefined,
    connection: undefined,
    granted: false,
    changes: [],
    gone: true,
    troubled: false,
    former: [],
    start() {
      shared.kernels.pods.add(netnsUrl);
      part.gone = false;
      part.connection = undefined;
      part.troubled = false;
      launch(shared, part, async (process, log) => {
        const stopping = new AbortController();
        const isCut = (one: string, other: string): boolean => shared.network.wire.isCut(one, other);
        part.stop = async () => stopping.abort();
        const connection = await connect({
          url: `kernel://${service}/${interfaceName}`,
          name,
          id: `${name}-0`,
          nsmgr: nsmgrUrl(node),
          netnsUrl,
          dialer: shared.network.transportOf(process).createDialer({ dialTimeoutMs: 750 }),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          liveness: shared.plan.probe ? livenessOf(shared, netnsUrl, isCut) : false,
          livenessIntervalMs: 250,
          livenessTimeoutMs: 600,
          workload: { nodeName: node },
          log,
          signal: stopping.signal,
        });
        part.connection = connection;
        part.granted = true;
        void follow(part, process, connection);
        return () => connection.close();
      });
    },
  };
  return part;
}

/** What the author of the endpoint does for each new client takes its time, and fails while the network is bad. */
async function welcome({ world, network }: Shared): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, world.chance.between(0, 20)));
  if (world.chance.next() < network.lossShare) throw statusError(Code.UNAVAILABLE, "the endpoint is not ready; try again");
}

/**
 * Echoes answer at once while the path stands; else the verdict comes after the timeout, or, of a check that first has to come through
 * by this path and sets itself no limit, never.
 */
function livenessOf(shared: Shared, netnsUrl: string, isCut: (one: string, other: string) => boolean): LivenessCheck {
  /** The looks at one path have one signal. */
  const throughBefore = new WeakSet<AbortSignal>();
  return async (_connection, { timeoutMs, intervalMs, interfaceName, signal }) => {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      if (pathFrom(shared.kernels, netnsUrl, interfaceName, isCut) !== undefined) {
        throughBefore.add(signal);
        return true;
      }
      const isLate = performance.now() >= endMs && !(shared.plan.probeHangs && !throughBefore.has(signal));
      if (isLate || signal.aborted) return false;
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  };
}

async function follow(part: SimClient, process: SimProcess, connection: ClientConnection): Promise<void> {
  for await (const change of connection.changes) {
    if (part.process !== process) continue;
    part.changes.push(change);
    if (change.kind === "trouble") part.troubled = true;
    if (change.kind === "healed") part.troubled = false;
  }
  for (const former of part.former) if (former.process === process) former.over = true;
}
