/** What the proofs of the demo work with: the mesh, its pods, and ways to look at both. */
import { writeFileSync } from "node:fs";
import { NetworkService } from "../../sdk/gen/registry.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { isPodsOwn } from "../commands/connect.js";
import type { CliContext } from "../context.js";
import { askForPod, askToRemovePod, type PodRequest } from "../mesh/control.js";
import { podNetns } from "../mesh/plan.js";
import { lastLogLines, waitFor } from "../mesh/ready.js";
import { requireMesh } from "../mesh/state.js";
import { collectConnections } from "../view/collect.js";
import type { ConnectionView } from "../view/connections.js";
import { listEndpoints, sourcesOf } from "../view/sources.js";
import { chainService, localService, rules, rulesFile, secureService } from "./scene.js";

export interface Stage {
  readonly context: CliContext;
  readonly dialer: Dialer;
  /** Starts a pod; it outlives this call. */
  start(pod: PodRequest): Promise<void>;
  /** Starts an endpoint's pod and waits until it is registered; the milliseconds that took. */
  startEndpoint(pod: PodRequest, service: string): Promise<number>;
  /** Waits until a client's pod is connected (to an endpoint that is not `other`). */
  connected(pod: PodRequest, options?: { other?: string; timeoutMs?: number }): Promise<ConnectionView>;
  /** Removes a pod; with `kill` its process learns nothing of it beforehand. */
  remove(pod: PodRequest, options: { kill: boolean }): Promise<void>;
  connections(): Promise<readonly ConnectionView[]>;
  close(): void;
}

const podTimeoutMs = 30_000;

export function openStage(context: CliContext): Stage {
  const { signal } = context;
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const start = async (pod: PodRequest): Promise<void> => {
    for await (const _ of askForPod(pod, signal)) {
      // detached: the one event says that it runs
    }
  };
  const wait = async <T>(
    what: string,
    pod: PodRequest,
    condition: () => Promise<T | undefined>,
    timeoutMs: number,
  ): Promise<T> => {
    try {
      return await waitFor(what, undefined, condition, { timeoutMs, signal });
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(`${(error as Error).message}${lastLogLines(pod.name)}`, { cause: error });
    }
  };
  const connections = async (): Promise<readonly ConnectionView[]> =>
    (await collectConnections(dialer, sourcesOf(requireMesh()), signal)).found;
  return {
    context,
    dialer,
    start,
    connections,
    async startEndpoint(pod, service) {
      const startedAt = performance.now();
      await start(pod);
      const { registry } = requireMesh();
      const registered = async (): Promise<true | undefined> => {
        const endpoints = await listEndpoints(dialer, registry.socketUrl, signal);
        const own = endpoints.some(
          ({ name, network_service_names }) => network_service_names.includes(service) && isPodsOwn(name, pod.name),
        );
        return own ? true : undefined;
      };
      await wait(`endpoint ${pod.name}`, pod, registered, podTimeoutMs);
      return performance.now() - startedAt;
    },
    async connected(pod, { other = "", timeoutMs = podTimeoutMs } = {}) {
      const own = async (): Promise<ConnectionView | undefined> =>
        (await connections()).find(
          (view) =>
            isPodsOwn(view.client, pod.name) &&
            view.state === "UP" &&
            view.clientAddresses.length > 0 &&
            goesElsewhere(view, other),
        );
      return wait(`the connection of ${pod.name}`, pod, own, timeoutMs);
    },
    remove: (pod, { kill }) => askToRemovePod(pod.name, { kill, signal }),
    close: () => dialer.close(),
  };
}

/** The last function of the chain is what changes when a responder dies. */
function goesElsewhere(view: ConnectionView, other: string): boolean {
  const last = view.hops.at(-1)?.name ?? "";
  return other === "" || !isPodsOwn(last, other);
}

/** The services exist before their endpoints, and the firewall's rules before the firewall. */
export async function prepareStage(stage: Stage): Promise<void> {
  writeFileSync(rulesFile, rules);
  const registry = stage.dialer.serviceRegistry(requireMesh().registry.socketUrl);
  for (const service of [chainService, localService, secureService]) {
    await registry.register(NetworkService.fromPartial(service), {
      signal: AbortSignal.any([stage.context.signal, AbortSignal.timeout(5000)]),
    });
  }
}

export function netnsOf(pod: PodRequest): string {
  return podNetns(pod.name);
}

/** 172.16.100.1/32 → 172.16.100.1 */
export function bare(address: string): string {
  return address.split("/")[0] ?? "";
}
