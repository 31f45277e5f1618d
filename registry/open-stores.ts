/** The store that the settings ask for. */
import { readFileSync } from "node:fs";
import type { Clock } from "../sdk/clock.js";
import { resolveStateDir } from "../sdk/config/state-dir.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { RegistryConfig } from "./config.js";
import { renewLease } from "./expire.js";
import type { EtcdOptions } from "./store/etcd/client.js";
import { createMemoryStores } from "./store/memory.js";
import type { Stores } from "./store/store.js";

export interface StoreDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the wait for a store that is kept elsewhere. */
  readonly signal: AbortSignal;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** @throws FAILED_PRECONDITION and others when it cannot be opened at all */
export async function openStores(config: RegistryConfig, deps: StoreDeps): Promise<Stores> {
  const { leasePeriodMs } = config;
  const { log, signal, clock, env = {} } = deps;
  if (config.store === "memory") return createMemoryStores();
  // a store is loaded when it is chosen: memory is what an idle registry costs
  if (config.store === "etcd") {
    const { openEtcdStores } = await import("./store/etcd/stores.js");
    return openEtcdStores({ ...etcdOptions(config), prefix: config.etcdPrefix, leasePeriodMs, clock, log, signal });
  }
  if (config.store === "kubernetes") {
    const { findApiConnection } = await import("../sdk/kubernetes/connection.js");
    const { openKubernetesStores } = await import("./store/kubernetes/stores.js");
    const connection = await findApiConnection({ env, kubeconfig: config.kubeconfig });
    const namespace = config.namespace || connection.namespace;
    const onlyNamespace = config.storeScope === "namespace";
    log.info("the registry keeps its entries in Kubernetes", {
      server: connection.server.href,
      namespace,
      as: connection.origin,
    });
    return openKubernetesStores({ connection, name: config.name, namespace, onlyNamespace, leasePeriodMs, clock, log, signal });
  }
  const { openLmdbStores } = await import("./store/lmdb.js");
  return openLmdbStores({
    dir: resolveStateDir(config.stateDir, config.name, env),
    log,
    clock,
    restore: (endpoint) => renewLease(endpoint, clock.nowMs(), leasePeriodMs),
  });
}

function etcdOptions(config: RegistryConfig): EtcdOptions {
  const file = (path: string): Buffer | undefined => (path === "" ? undefined : readFileSync(path));
  const { etcdUser: name, etcdPasswordFile } = config;
  return {
    endpoints: config.etcdEndpoints,
    tls: rereadEvery(rereadMs, () => ({ ca: file(config.etcdCa), cert: file(config.etcdCert), key: file(config.etcdKey) })),
    ...(name !== "" && { user: { name, password: file(etcdPasswordFile)?.toString("utf8").trim() ?? "" } }),
  };
}

/** Who renews certificates replaces their files. */
const rereadMs = 5_000;

/** Reads now, and again when what was read is older than that; what cannot be read any more stays as it was. */
function rereadEvery<T>(ms: number, read: () => T): () => T {
  let known = read();
  let atMs = performance.now();
  return () => {
    if (performance.now() - atMs < ms) return known;
    atMs = performance.now();
    try {
      known = read();
    } catch {
      // between the removal of the old files and the arrival of the new ones
    }
    return known;
  };
}

export function sizesOf({ services, endpoints }: Stores): { services: number; endpoints: number } {
  return { services: services.table.size, endpoints: endpoints.table.size };
}
