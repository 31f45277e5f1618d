/** What the webhook knows of its cluster: namespaces, and whether containers can be native sidecars. */
import type { KubernetesApi } from "../sdk/kubernetes/api.js";
import { isApiError } from "../sdk/kubernetes/api-error.js";
import { listWatch } from "../sdk/kubernetes/list-watch.js";
import { type KubernetesObject, namespaces, pathOf } from "../sdk/kubernetes/resource.js";
import type { Log } from "../sdk/telemetry/log.js";
import { fieldsOf, type ObjectMeta, readMeta } from "./objects.js";

export interface NamespaceBook {
  /**
   * Annotations and labels of a namespace; asked for when it is too new to be known.
   * @throws UNAVAILABLE when it is not known and the API gives no answer
   */
  metaOf(name: string): Promise<ObjectMeta | undefined>;
  readonly synced: (signal: AbortSignal) => Promise<void>;
  stop(): Promise<void>;
}

const askTimeoutMs = 3_000;

export function createNamespaceBook(api: KubernetesApi, log: Log): NamespaceBook {
  const watch = listWatch<KubernetesObject>({
    api,
    resource: namespaces,
    log,
    trim: ({ apiVersion, kind, metadata }) => ({
      ...(apiVersion === undefined ? {} : { apiVersion }),
      ...(kind === undefined ? {} : { kind }),
      // managed fields are the larger part of a namespace
      metadata: { ...metadata, managedFields: undefined },
    }),
  });
  return {
    async metaOf(name) {
      if (name === "") return undefined;
      const known = watch.objects.get(name);
      if (known !== undefined && watch.state.live) return readMeta(known.metadata);
      try {
        const found = await api.call<KubernetesObject>({ path: pathOf(namespaces, { name }), timeoutMs: askTimeoutMs });
        return readMeta(found.metadata);
      } catch (error) {
        if (isApiError(error) && error.httpStatus === 404) return undefined;
        // what was known is better than no answer
        if (known !== undefined) return readMeta(known.metadata);
        throw error;
      }
    },
    synced: (signal) => watch.synced(signal),
    stop: () => watch.stop(),
  };
}

/** Source: KEP-753; sidecar containers are on since Kubernetes 1.29. */
export async function hasNativeSidecars(api: KubernetesApi): Promise<boolean> {
  const version = fieldsOf(await api.call<unknown>({ path: "/version" })) ?? {};
  // some clouds write "29+"
  const [major = 0, minor = 0] = [version["major"], version["minor"]].map((text) => Number.parseInt(String(text), 10));
  return major > 1 || (major === 1 && minor >= 29);
}
