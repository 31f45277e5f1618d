/** Our custom resources on an API server. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import type { KubernetesApi } from "../../../sdk/kubernetes/api.js";
import { isApiError } from "../../../sdk/kubernetes/api-error.js";

const dir = new URL("../../../deploy/crds/", import.meta.url);
const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** Installs all of deploy/crds and waits until they are served. */
export async function installCrds(api: KubernetesApi): Promise<void> {
  for (const file of readdirSync(fileURLToPath(dir)).filter((name) => name.endsWith(".yaml"))) {
    await installCrd(api, parse(readFileSync(new URL(file, dir), "utf8")) as Crd);
  }
}

interface Crd {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly names: { readonly plural: string } };
}

export async function installCrd(api: KubernetesApi, crd: Crd): Promise<void> {
  await api.call({ method: "POST", path, body: crd }).catch((error: unknown) => {
    if (!isApiError(error) || error.reason !== "AlreadyExists") throw error;
  });
  const endMs = Date.now() + 60_000;
  for (;;) {
    // established is not enough: the server that answers must have it in its table
    const served = await api.call({ path: `/apis/networkservicemesh.io/v1/${crd.spec.names.plural}` }).catch((error: unknown) => {
      if (Date.now() > endMs) throw error;
      return undefined;
    });
    if (served !== undefined) return;
    await sleep(100);
  }
}
