/** The cluster that the questions go to, through the kubeconfig. */
import { createKubernetesApi, type KubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import type { CliContext } from "../context.js";

export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  /** Of the release. */
  readonly namespace?: string;
}

export const defaultNamespace = "weft-system";

/** Runs with an API client that is closed afterwards. @throws FAILED_PRECONDITION no kubeconfig, or it cannot be used */
export async function withCluster<T>(
  { kubeconfig, context }: ClusterOptions,
  { env }: CliContext,
  use: (api: KubernetesApi) => Promise<T>,
): Promise<T> {
  const api = createKubernetesApi(await findApiConnection({ env, kubeconfig, context }), { userAgent: "weft-cli" });
  try {
    return await use(api);
  } finally {
    api.close();
  }
}
