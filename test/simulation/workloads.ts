/** Endpoints and clients of a simulated domain: the SDK's serve and connect, each in a process and a pod of its own. */
import { join } from "node:path";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { connect } from "../../sdk/client/connect.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { pathFrom } from "./kernel.js";
import { modelNetns } from "./model-netns.js";
import { launch, nsmgrUrl, type Shared, type SimClient, type SimEndpoint, service } from "./part.js";

function podOf(shared: Shared, name: string): string {
  const { path } = modelNetns(name);
  const url = `file://${path}`;
  shared.kernels.pods.add(url);
  return url;
}

export function endpointPart(shared: Shared, node: string, index: number): SimEndpoint {
  const name = `nse-${index + 1}`;
  const netnsUrl = podOf(shared, name);
  const cidr = `172.16.${index}.0/24`;
  const part: SimEndpoint = {
    name,
    node,
    netnsUrl,
    cidr,
    process: undefined,
    stop: undefined,
    serving: undefined,
    start: () =>
      launch(shared, part, async (process, log) => {
        shared.kernels.pods.add(netnsUrl);
        const serving = await serve({
          name,
          services: [service],
          cidrs: [[cidr]],
          nsmgr: nsmgrUrl(node),
          listenOn: [`unix:///${node}/${name}`],
          netns: netnsUrl,
          stateDir: join(shared.folder, name),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          transport: shared.network.transportOf(process),
          log,
          signal: new AbortController().signal,
        });
        part.serving = serving;
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
    changes: [],
    gone: false,
    troubled: false,
    start: () =>
      launch(shared, part, async (process, log) => {
        part.connection = undefined;
        part.troubled = false;
        const stopping = new AbortController();
        const isCut = (one: string, other: string): boolean => shared.network.isCut(one, other);
        part.stop = async () => stopping.abort();
        const connection = await connect({
          url: `kernel://${service}/${interfaceName}`,
          name,
          id: `${name}-0`,
          nsmgr: nsmgrUrl(node),
          netnsUrl,
          dialer: shared.network.transportOf(process).createDialer({ dialTimeoutMs: 750 }),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          liveness: livenessOf(shared, netnsUrl, interfaceName, isCut),
          livenessIntervalMs: 250,
          livenessTimeoutMs: 600,
          workload: { nodeName: node },
          log,
          signal: stopping.signal,
        });
        part.connection = connection;
        void follow(part, connection);
        return () => connection.close();
      }),
  };
  return part;
}

/** Echoes answer at once while the path stands; else the verdict comes after the timeout. */
function livenessOf(shared: Shared, netnsUrl: string, interfaceName: string, isCut: (one: string, other: string) => boolean) {
  return async (
    _connection: unknown,
    options: { readonly timeoutMs: number; readonly intervalMs: number; readonly signal: AbortSignal },
  ) => {
    const endMs = performance.now() + options.timeoutMs;
    for (;;) {
      if (pathFrom(shared.kernels, netnsUrl, interfaceName, isCut) !== undefined) return true;
      if (performance.now() >= endMs || options.signal.aborted) return false;
      await new Promise((resolve) => setTimeout(resolve, options.intervalMs));
    }
  };
}

async function follow(part: SimClient, connection: ClientConnection): Promise<void> {
  for await (const change of connection.changes) {
    part.changes.push(change);
    if (change.kind === "trouble") part.troubled = true;
    if (change.kind === "healed") part.troubled = false;
  }
}
