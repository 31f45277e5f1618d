/** weft cluster doctor: what is wrong with the mesh of a cluster, with the remedy. */
import { modeAnnotation, servicesAnnotation } from "../../sdk/kubernetes/annotation.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import { isApiError } from "../../sdk/kubernetes/api-error.js";
import { connections, type KubernetesObject, nodes, pathOf, pods } from "../../sdk/kubernetes/resource.js";
import { toStatusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { formatTable } from "../view/table.js";
import { type ClusterOptions, defaultNamespace, withCluster } from "./open.js";

interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

export function clusterDoctor(options: ClusterOptions & { readonly json?: boolean }, context: CliContext): Promise<number> {
  const namespace = options.namespace ?? defaultNamespace;
  return withCluster(options, context, async (api) => {
    const findings: Finding[] = [];
    const look = async (name: string, examine: () => Promise<readonly Finding[]>): Promise<void> => {
      try {
        findings.push(...(await examine()));
      } catch (error) {
        findings.push({ name, ok: false, detail: toStatusError(error).details });
      }
    };
    await look("parts", () => parts(api, namespace));
    await look("nodes", () => everyNode(api, namespace));
    await look("webhook", () => webhook(api));
    await look("admission", () => admission(api));
    await look("connections", () => unconnected(api));
    const ok = findings.every((finding) => finding.ok);
    if (options.json === true) context.out.write(`${JSON.stringify({ ok, findings }, null, 2)}\n`);
    else
      context.out.write(
        formatTable(
          ["", "WHAT", "DETAIL"],
          findings.map((finding) => [finding.ok ? "ok" : "WRONG", finding.name, finding.detail]),
        ),
      );
    return ok ? 0 : 1;
  });
}

interface Workload extends KubernetesObject {
  readonly spec: { readonly replicas?: number };
  readonly status: { readonly readyReplicas?: number; readonly numberReady?: number; readonly desiredNumberScheduled?: number };
}

async function parts(api: KubernetesApi, namespace: string): Promise<Finding[]> {
  const query = { labelSelector: "app.kubernetes.io/part-of=weft" };
  const list = async (plural: string): Promise<Workload[]> =>
    (await api.call<{ items: Workload[] }>({ path: `/apis/apps/v1/namespaces/${namespace}/${plural}`, query })).items;
  const all = [...(await list("deployments")), ...(await list("daemonsets"))];
  if (all.length === 0) {
    return [
      {
        name: "parts",
        ok: false,
        detail: `nothing of Weft is in namespace ${namespace}: \`weft install\`, or name another with --namespace`,
      },
    ];
  }
  return all.map(({ metadata, spec, status }) => {
    const wanted = status.desiredNumberScheduled ?? spec.replicas ?? 1;
    const ready = status.numberReady ?? status.readyReplicas ?? 0;
    const ok = ready >= wanted;
    const remedy = `kubectl -n ${namespace} get pods -l app.kubernetes.io/part-of=weft, then describe those that are not ready`;
    return { name: metadata.name, ok, detail: `${ready} of ${wanted} ready${ok ? "" : `: ${remedy}`}` };
  });
}

/** A node without a forwarder carries nothing. */
async function everyNode(api: KubernetesApi, namespace: string): Promise<Finding[]> {
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const query = { labelSelector: "app.kubernetes.io/name=forwarder" };
  const found = await api.call<{ items: readonly { readonly spec: { readonly nodeName?: string } }[] }>({ path, query });
  const served = new Set(found.items.map(({ spec }) => spec.nodeName));
  const { items } = await api.call<{ items: KubernetesObject[] }>({ path: pathOf(nodes) });
  const bare = items.map(({ metadata }) => metadata.name).filter((name) => !served.has(name));
  const detail =
    bare.length === 0
      ? `a forwarder on each of ${items.length}`
      : `none on ${bare.join(", ")}: tolerations or nodeSelector in the chart's values?`;
  return [{ name: "forwarders", ok: bare.length === 0, detail }];
}

async function webhook(api: KubernetesApi): Promise<Finding[]> {
  const path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
  const query = { labelSelector: "app.kubernetes.io/part-of=weft" };
  type Configuration = KubernetesObject & {
    readonly webhooks?: readonly { readonly clientConfig?: { readonly caBundle?: string } }[];
  };
  const { items } = await api.call<{ items: Configuration[] }>({ path, query });
  if (items.length === 0) return [{ name: "webhook", ok: true, detail: "none: only pods in mode node are connected" }];
  return items.map(({ metadata, webhooks = [] }) => {
    const ok = webhooks.every(({ clientConfig }) => Boolean(clientConfig?.caBundle));
    return {
      name: metadata.name,
      ok,
      detail: ok ? "has its authority" : "has no caBundle: is a pod of the webhook running, and may it patch this?",
    };
  });
}

/** Whether the webhook is really called and answers, by a pod that the server checks and never makes. */
async function admission(api: KubernetesApi): Promise<Finding[]> {
  const name = "admission";
  const annotations = { [servicesAnnotation]: "kernel://weft-doctor/nsm-1" };
  const body = { apiVersion: "v1", kind: "Pod", metadata: { name: "weft-doctor", annotations }, spec: probe };
  try {
    type Made = KubernetesObject & { readonly metadata: { readonly annotations?: Readonly<Record<string, string>> } };
    const path = pathOf(pods, { namespace: "default" });
    const { metadata } = await api.call<Made>({ method: "POST", path, query: { dryRun: "All" }, body });
    const mode = metadata.annotations?.[modeAnnotation];
    if (mode !== undefined) return [{ name, ok: true, detail: `an annotated pod in namespace default gets mode ${mode}` }];
    const remedy = "is the webhook installed, and does its namespaceSelector choose this namespace?";
    return [{ name, ok: false, detail: `an annotated pod in namespace default is left as it is: ${remedy}` }];
  } catch (error) {
    if (isApiError(error) && error.httpStatus === 403) {
      return [{ name, ok: true, detail: "not tried: the kubeconfig's user may not create pods in namespace default" }];
    }
    const { details } = toStatusError(error);
    return [{ name, ok: false, detail: `no annotated pod can be made: ${details}${remedyFor(details)}` }];
  }
}

/** Taken by every level of Pod Security. */
const probe = {
  containers: [
    {
      name: "probe",
      image: "weft-doctor",
      securityContext: {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        runAsNonRoot: true,
        runAsUser: 65532,
        seccompProfile: { type: "RuntimeDefault" },
      },
    },
  ],
};

function remedyFor(details: string): string {
  if (/expired/.test(details))
    return "; put a new certificate where the webhook reads its own (NSM_CERT_FILE_PATH), or correct the clocks of its node and of the API server";
  if (/x509|certificate/.test(details))
    return "; the webhook writes its authority into its configuration: may it patch that, and does it run?";
  if (/failed calling webhook/.test(details))
    return "; does a pod of the webhook run, and can the API server reach it (NetworkPolicies)?";
  return "";
}

async function unconnected(api: KubernetesApi): Promise<Finding[]> {
  type Connection = KubernetesObject & { readonly status?: { readonly state?: string; readonly message?: string } };
  const { items } = await api.call<{ items: Connection[] }>({ path: pathOf(connections) });
  const waiting = items.filter(({ status }) => status?.state !== "Connected");
  const summary = {
    name: "connections",
    ok: waiting.length === 0,
    detail: `${items.length - waiting.length} of ${items.length} are up`,
  };
  const each = waiting.slice(0, 20).map(({ metadata, status }) => ({
    name: `${metadata.namespace}/${metadata.name}`,
    ok: false,
    detail: `${status?.state ?? "not seen yet"}: ${status?.message ?? ""}`,
  }));
  return [summary, ...each];
}
