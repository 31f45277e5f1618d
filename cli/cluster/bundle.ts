/** weft bundle: what a report of a problem needs, as files in a folder, with secrets removed. Reads only. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import {
  connections,
  events,
  type KubernetesObject,
  networkServiceEndpoints,
  networkServices,
  nodes,
  pathOf,
  pods,
} from "../../sdk/kubernetes/resource.js";
import { toStatusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { version } from "../version.js";
import { type ClusterOptions, defaultNamespace, withCluster } from "./open.js";
import { redact } from "./redact.js";

const tailLines = 2_000;

export function bundle(options: ClusterOptions & { readonly out?: string }, context: CliContext): Promise<number> {
  const namespace = options.namespace ?? defaultNamespace;
  const folder = options.out ?? `weft-bundle-${new Date().toISOString().replace(/[:.]/g, "-")}`;
  return withCluster(options, context, async (api) => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const problems: string[] = [];
    const save = async (file: string, read: () => Promise<unknown>): Promise<void> => {
      try {
        const value = await read();
        const text = typeof value === "string" ? value : `${JSON.stringify(value, null, 2)}\n`;
        writeFileSync(join(folder, file), redact(text), { mode: 0o600 });
      } catch (error) {
        // a part that may not be read is told, and keeps none of the others
        problems.push(`${file}: ${toStatusError(error).details}`);
      }
    };
    await save("versions.json", async () => ({ weft: version, kubernetes: await api.call({ path: "/version" }) }));
    const apps = `/apis/apps/v1/namespaces/${namespace}`;
    const lists: Readonly<Record<string, string>> = {
      "nodes.json": pathOf(nodes),
      "pods.json": pathOf(pods, { namespace }),
      "deployments.json": `${apps}/deployments`,
      "daemonsets.json": `${apps}/daemonsets`,
      "events.json": pathOf(events, { namespace }),
      "networkservices.json": pathOf(networkServices),
      "networkserviceendpoints.json": pathOf(networkServiceEndpoints),
      "connections.json": pathOf(connections),
      "webhooks.json": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    };
    for (const [file, path] of Object.entries(lists)) await save(file, () => listWithout(api, path));
    for (const { name, container } of await containersOf(api, namespace).catch(() => [])) {
      for (const previous of [false, true]) {
        const path = `${pathOf(pods, { namespace, name, subresource: "log" })}`;
        const file = `log-${name}-${container}${previous ? "-previous" : ""}.txt`;
        const before = problems.length;
        await save(file, () => readLog(api, path, { container, previous, tailLines }));
        if (previous) problems.length = before; // usually there is none
      }
    }
    writeFileSync(join(folder, "problems.txt"), problems.map((problem) => `${redact(problem)}\n`).join(""), { mode: 0o600 });
    context.out.write(`${folder}: look through it before you hand it on; Secrets were not read\n`);
    for (const problem of problems) context.err.write(`weft: not in the bundle: ${problem}\n`);
    return 0;
  });
}

/** Managed fields are noise. */
async function listWithout(api: KubernetesApi, path: string): Promise<unknown> {
  const { items } = await api.call<{ items: KubernetesObject[] }>({ path });
  return { items: items.map(({ metadata: { managedFields: _, ...metadata }, ...object }) => ({ ...object, metadata })) };
}

async function containersOf(api: KubernetesApi, namespace: string): Promise<{ name: string; container: string }[]> {
  const { items } = await api.call<{ items: KubernetesObject[] }>({ path: pathOf(pods, { namespace }) });
  return items.flatMap(({ metadata, spec }) =>
    ((spec as { containers?: readonly { name: string }[] }).containers ?? []).map(({ name }) => ({
      name: metadata.name,
      container: name,
    })),
  );
}

async function readLog(
  api: KubernetesApi,
  path: string,
  query: Readonly<Record<string, string | number | boolean>>,
): Promise<string> {
  const response = await api.open({ path, query });
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk as string;
  return text;
}
