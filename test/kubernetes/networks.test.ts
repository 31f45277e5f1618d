/** The networks of a cluster, found and watched on a real API server. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { writeNetworks } from "../../apps/node-agent/write-networks.js";
import { parseExcludedPrefixes } from "../../nsmgr/excluded-prefixes.js";
import { createKubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type ApiServer, noApiServer, startApiServer } from "./rig/api-server.js";
import { eventually } from "./rig/eventually.js";
import { createMemoryLog } from "./rig/memory-log.js";

const skip = noApiServer();
let server: ApiServer;
before(async () => {
  if (skip === false) server = await startApiServer({ users: ["nobody"] });
});
after(async () => await server?.stop());

test("row 4.4: pod, service and node networks are found by themselves, watched, and excluded for the manager", {
  skip,
}, async (t) => {
  const path = temporaryFile(t);
  await server.kubectl(["apply", "-f", "-"], objects);
  const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: server.kubeconfig }));
  const names = { namespace: "weft-system", configMap: "excluded-prefixes-config", extra: ["192.0.2.0/24"] };
  const networks = await writeNetworks(path, { api, log: silentLog, ...names });
  t.after(async () => {
    await networks.stop();
    api.close();
  });
  const written = async (): Promise<string> => (await parseExcludedPrefixes(readFileSync(path, "utf8"))).join(" ");
  // 10.96.0.0/16 is the server's own ServiceCIDR; the node's 10.244.1.0/24 lies in kubeadm's network
  const found = "10.77.0.11/32 10.96.0.0/16 10.244.0.0/16 172.16.0.0/12 fd00:10::/56 192.0.2.0/24";
  await eventually("all sources", async () => (await written()) === found).catch((error: Error) => {
    throw new Error(`${error.message}: ${path}`);
  });
  await server.kubectl(["delete", "configmap", "excluded-prefixes-config", "-n", "weft-system"]);
  await eventually("the operator's own to go", async () => !(await written()).includes("172.16.0.0/12"));
  await server.kubectl(["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", address("10.77.0.12")]);
  await eventually("the node's new address", async () => {
    const now = await written();
    return now.includes("10.77.0.12/32") && !now.includes("10.77.0.11/32");
  });
  // nonsense takes nothing away from the others
  await server.kubectl([
    "create",
    "configmap",
    "excluded-prefixes-config",
    "-n",
    "weft-system",
    "--from-literal=excluded_prefixes_input.yaml=[[",
  ]);
  await server.kubectl(["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", address("10.77.0.13")]);
  await eventually("the next change", async () => (await written()).includes("10.77.0.13/32"));
  assert.match(await written(), /10\.244\.0\.0\/16/);
});

test("sources that are forbidden are named with the missing rule, and missed", { skip }, async (t) => {
  const path = temporaryFile(t);
  const { log, lines } = createMemoryLog();
  const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: server.kubeconfigOf("nobody") }));
  const names = { namespace: "weft-system", configMap: "excluded-prefixes-config", extra: ["192.0.2.0/24"] };
  const networks = await writeNetworks(path, { api, log, ...names });
  t.after(async () => {
    await networks.stop();
    api.close();
  });
  await eventually("the file", () => readFileSync(path, "utf8").includes("192.0.2.0/24"));
  assert.ok(lines().some((line) => line.includes("missing RBAC rule") && line.includes("nodes")));
});

function address(ip: string): string {
  return JSON.stringify({ status: { addresses: [{ type: "InternalIP", address: ip }] } });
}

function temporaryFile(t: { after(end: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), "wt-networks-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, "config", "excluded_prefixes.yaml");
}

const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: weft-system}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:10::/64"]}
status: {addresses: [{type: InternalIP, address: 10.77.0.11}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeadm-config, namespace: kube-system}
data:
  ClusterConfiguration: |
    networking: {podSubnet: "10.244.0.0/16,fd00:10::/56", serviceSubnet: 10.96.0.0/16}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: "clusterCIDR: 10.244.0.0/16"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: excluded-prefixes-config, namespace: weft-system}
data:
  excluded_prefixes_input.yaml: "prefixes: [172.16.0.0/12]"
`;
