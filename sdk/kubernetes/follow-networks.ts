/**
 * The networks of the cluster, found by themselves and watched, so that no endpoint hands out an address that pods,
 * services or nodes have: node objects, ServiceCIDRs (Services where the cluster is too old for them), what kubeadm and
 * kube-proxy were told, and a ConfigMap of the operator's own. A source that is absent or forbidden is logged and missed,
 * the others count; what was found stays while the API server is away.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../telemetry/log.js";
import type { KubernetesApi } from "./api.js";
import { isApiError } from "./api-error.js";
import { type ListWatch, listWatch } from "./list-watch.js";
import {
  type Found,
  joinPrefixes,
  prefixesOfKubeadm,
  prefixesOfKubeProxy,
  prefixesOfNode,
  prefixesOfOperator,
  prefixesOfService,
  prefixesOfServiceCidr,
} from "./network-objects.js";
import { configMaps, type KubernetesObject, keyOf, nodes, type Resource, serviceCidrs, services } from "./resource.js";

export interface Networks {
  /** Joined: none lies in another. */
  current(): readonly string[];
  stop(): Promise<void>;
}

/** What is kept of an object. */
interface Source extends KubernetesObject {
  readonly found: Found;
}

/** Changes come in flocks. */
const gatherMs = 200;
const firstListsMs = 5_000;

export interface NetworksOptions {
  readonly api: KubernetesApi;
  /** Where the operator's ConfigMap is. */
  readonly namespace: string;
  /** Its name. */
  readonly configMap: string;
  readonly log: Log;
  /** Is told of each new list, and of the first. */
  readonly onChange: (prefixes: readonly string[]) => void;
}

export async function followNetworks(options: NetworksOptions): Promise<Networks> {
  const { api, log, namespace, configMap } = options;
  const watches: ListWatch<Source>[] = [];
  let told: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  const current = (): string[] =>
    joinPrefixes(watches.flatMap(({ objects }) => [...objects.values()].flatMap(({ found }) => found.prefixes)));

  function tell(): void {
    timer = undefined;
    const prefixes = current();
    if (told === prefixes.join()) return;
    told = prefixes.join();
    log.info("networks of the cluster, excluded from connections", { prefixes });
    options.onChange(prefixes);
  }

  function follow(
    resource: Resource,
    read: (object: KubernetesObject) => Found,
    only?: { namespace: string; name: string },
  ): void {
    watches.push(
      listWatch<Source>({
        api,
        resource,
        log,
        ...(only && { namespace: only.namespace, fieldSelector: `metadata.name=${only.name}` }),
        trim: ({ metadata: { name, namespace, uid, resourceVersion }, ...object }) => {
          const metadata = {
            name,
            ...(namespace !== undefined && { namespace }),
            ...(uid !== undefined && { uid }),
            ...(resourceVersion !== undefined && { resourceVersion }),
          };
          const found = read({ ...object, metadata });
          if (found.problem !== undefined)
            log.warn("networks of the cluster: a source is not understood", { problem: found.problem });
          return { metadata, found };
        },
        onChange: ({ previous, next }) => {
          if (sameFound(previous, next)) return;
          timer ??= setTimeout(tell, gatherMs);
        },
      }),
    );
  }

  follow(nodes, prefixesOfNode);
  if (await hasServiceCidrs(api)) follow(serviceCidrs, prefixesOfServiceCidr);
  else follow(services, prefixesOfService);
  follow(configMaps, prefixesOfKubeadm, { namespace: "kube-system", name: "kubeadm-config" });
  follow(configMaps, prefixesOfKubeProxy, { namespace: "kube-system", name: "kube-proxy" });
  follow(configMaps, prefixesOfOperator, { namespace, name: configMap });
  // not longer: a source without rights would keep the others waiting
  const signal = AbortSignal.timeout(firstListsMs);
  await Promise.all(watches.map((watch) => watch.synced(signal).catch(() => {})));
  clearTimeout(timer);
  tell();
  return {
    current,
    async stop() {
      clearTimeout(timer);
      await Promise.all(watches.map((watch) => watch.stop()));
    },
  };
}

async function hasServiceCidrs(api: KubernetesApi): Promise<boolean> {
  for (let tries = 0; ; tries++) {
    try {
      const { resources } = await api.call<{ resources?: { name: string }[] }>({ path: "/apis/networking.k8s.io/v1" });
      return resources?.some(({ name }) => name === serviceCidrs.plural) === true;
    } catch (error) {
      if (isApiError(error) && error.httpStatus >= 400 && error.httpStatus < 500) return false;
      if (tries === 20) return false;
      await sleep(500);
    }
  }
}

function sameFound(a: Source | undefined, b: Source | undefined): boolean {
  return a !== undefined && b !== undefined && keyOf(a) === keyOf(b) && a.found.prefixes.join() === b.found.prefixes.join();
}
