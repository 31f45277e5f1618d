/** Pods with annotations, once Weft is installed: both modes, across nodes, changes of a running pod, mistakes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connections, type KubernetesObject, pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { commandsOf, runBlock } from "../quickstart.js";
import { type Cluster, workloadImage } from "../rig/cluster/cluster.js";
import { eventually } from "../rig/eventually.js";
import { applyPod, untilPodReady } from "../rig/pods.js";

const namespace = "pods-journey";

interface ConnectionObject extends KubernetesObject {
  readonly status?: {
    readonly state?: string;
    readonly interface?: string;
    readonly addresses?: readonly string[];
    readonly message?: string;
  };
}

export function podJourneys(cluster: () => Cluster): void {
  bothModes(cluster);
  ofRunningPods(cluster);
  mistakesAndLimits(cluster);
  quickstart(cluster);
}

function bothModes(cluster: () => Cluster): void {
  test("rows 9.1, 9.5: an endpoint and clients on both nodes by the annotation alone, in both modes", async () => {
    await cluster().kubectl(["create", "namespace", namespace]);
    await cluster().kubectl(
      ["apply", "-f", "-"],
      JSON.stringify(endpoint("near", cluster().nodes[0]?.name ?? "", "172.16.10.0/24")),
    );
    await cluster().kubectl(["-n", namespace, "rollout", "status", "deployment", "near", "--timeout", "90s"]);
    for (const node of cluster().nodes) {
      for (const mode of ["node", "sidecar"]) {
        const name = `${mode}-${node.name}`;
        await applyPod(cluster(), { name, namespace, node: node.name, annotations: wish("kernel://near/nsm-1", mode) });
        const made = await untilPodReady(cluster(), name, namespace);
        const { containers = [], initContainers = [] } = made.spec as { containers?: object[]; initContainers?: object[] };
        assert.deepEqual([containers.length, initContainers.length], [1, mode === "node" ? 0 : 1], name);
        await pings(cluster(), name, "nsm-1");
      }
    }
    const list = await connectionsOf(cluster(), "node-node-2", 1);
    assert.equal(list[0]?.status?.interface, "nsm-1");
    assert.match(list[0]?.status?.addresses?.[0] ?? "", /^172\.16\.10\./);
  });

  test("the pod's own network is as it was: CNI interface, default route, DNS", async () => {
    await applyPod(cluster(), { name: "plain", namespace, node: "node-1" });
    await untilPodReady(cluster(), "plain", namespace);
    const look = async (pod: string): Promise<string[]> => {
      const routes = await exec(cluster(), pod, "ip route | grep ^default");
      const dns = await exec(cluster(), pod, "cat /etc/resolv.conf");
      return [routes.trim(), dns.trim()];
    };
    const [plain, connected] = [await look("plain"), await look("node-node-1")];
    assert.deepEqual(connected, plain);
    assert.match(await exec(cluster(), "node-node-1", "nslookup kubernetes.default.svc.cluster.local"), /10\.96\.0\.1/);
  });
}

function ofRunningPods(cluster: () => Cluster): void {
  test("a running pod: the annotation adds an interface and takes it away, without a restart", async () => {
    const annotate = (value: string): Promise<string> =>
      cluster().kubectl(["-n", namespace, "annotate", "pod", "node-node-1", "--overwrite", value]);
    await annotate("networkservicemesh.io=kernel://near/nsm-1,kernel://near/nsm-2");
    await connectionsOf(cluster(), "node-node-1", 2);
    await pings(cluster(), "node-node-1", "nsm-2");
    await annotate("networkservicemesh.io=kernel://near/nsm-2");
    await connectionsOf(cluster(), "node-node-1", 1);
    await eventually("nsm-1 to go", async () => !/nsm-1/.test(await exec(cluster(), "node-node-1", "ip link")));
    await pings(cluster(), "node-node-1", "nsm-2");
    await assert.rejects(annotate("networkservicemesh.io=kernel//near"), /character 7/);
    const made = await untilPodReady(cluster(), "node-node-1", namespace);
    assert.equal((made.status as { containerStatuses?: { restartCount: number }[] }).containerStatuses?.[0]?.restartCount, 0);
  });
}

function mistakesAndLimits(cluster: () => Cluster): void {
  test("a service that nobody offers: the pod runs, is not ready, and an event says what to do", async () => {
    const name = "lonely";
    await applyPod(cluster(), {
      name,
      namespace,
      node: "node-1",
      annotations: wish("kernel://nobody-offers-this/nsm-1", "node"),
    });
    const events = await eventually("the event", async () => {
      const text = await cluster().kubectl(["-n", namespace, "get", "events", "--field-selector", `involvedObject.name=${name}`]);
      return /NotConnected/.test(text) && text;
    });
    assert.match(events, /nobody-offers-this/);
    assert.match(events, /kubectl get/);
    const { status } = await cluster().api.call<{ status: { phase: string; conditions: { type: string; status: string }[] } }>({
      path: pathOf(pods, { namespace, name }),
    });
    assert.equal(status.phase, "Running");
    assert.equal(status.conditions.find(({ type }) => type === "Ready")?.status, "False");
    // it comes, and the pod is ready
    await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(endpoint("nobody-offers-this", "node-2", "172.16.11.0/24")));
    await untilPodReady(cluster(), name, namespace);
  });

  test("row 8.6: a namespace under Pod Security restricted", async () => {
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    const strict = { apiVersion: "v1", kind: "Namespace", metadata: { name: "strict-journey", labels } };
    await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(strict));
    await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(restrictedPod("kernel://near/nsm-1")));
    await untilPodReady(cluster(), "confined", "strict-journey");
    await cluster().kubectl(["delete", "namespace", "strict-journey", "--wait"]);
  });

  test("row 9.8: kubectl weft through the API server alone: get, describe, why, doctor, log-level", async () => {
    const weft = (...args: string[]): Promise<string> =>
      runBlock(`node scripts/kubectl-weft.mjs ${args.join(" ")}`, cluster().kubeconfig);
    assert.match(await weft("get", "connections"), /node-node-2 +near +nsm-1 +Connected/);
    assert.match(await weft("describe", "connection", "node-node-2"), /networkService: near/);
    for (const pod of ["node-node-2", "sidecar-node-2"]) {
      const said = await weft("why", `${namespace}/${pod}`);
      assert.match(said, /asked for near and is connected to near-/);
      // the endpoint is on the other node, and both forwarders are on the way
      for (const part of ["nsmgr-node-2", "forwarder-node-2", "nsmgr-node-1", "forwarder-node-1"])
        assert.match(said, new RegExp(part));
      assert.match(said, /AT +STEP +CANDIDATE +VERDICT +RULE/);
      assert.doesNotMatch(said, /does not answer/);
      for (const part of ["forwarder-node-1", "forwarder-node-2"]) assert.match(said, new RegExp(`${part} \\(forwarder\\)\\n`));
    }
    assert.match(await weft("log-level", "debug", "--node", "node-2"), /nsmgr-node-2 +debug\n[\s\S]*forwarder-node-2 +debug/);
    assert.match(await weft("log-level"), /nsmgr-node-1 +info\n[\s\S]*nsmgr-node-2 +debug/);
    assert.match(await weft("doctor"), /a forwarder on each of 2/);
  });

  test("the pods go, and nothing of them stays on the nodes", async () => {
    await cluster().kubectl(["delete", "namespace", namespace, "--wait"]);
    for (const node of cluster().nodes) {
      await eventually(`no tunnel on ${node.name}`, async () => !/vxlan/.test(await node.run(["ip", "-d", "link"])));
    }
  });
}

function quickstart(cluster: () => Cluster): void {
  test("docs/quickstart-kubernetes.md, word for word, but for installation and removal", async () => {
    const [install, ...blocks] = commandsOf("docs/quickstart-kubernetes.md");
    assert.match(install ?? "", /helm install/);
    assert.match(blocks[0] ?? "", /helm test/);
    const said: string[] = [];
    for (const block of blocks.slice(0, -1)) said.push(await runBlock(block, cluster().kubeconfig));
    const path = pathOf(connections, { namespace: "quickstart" });
    const { items } = await cluster().api.call<{ items: { status?: { path?: readonly string[] } }[] }>({ path });
    const hops = items.flatMap(({ status }) => status?.path ?? []);
    for (const part of [/^firewall-/, /^web-/])
      assert.ok(
        hops.some((hop) => part.test(hop)),
        `${part} is on the way: ${hops.join()}`,
      );
    assert.match(said.join("\n"), /172\.16\.100\.\d+: \d+\.\d+ ms/, "the client pings through the firewall");
    assert.match(said.at(-1) ?? "", /client-\S+ +1\/1 +Running/, "one container in mode node");
    await cluster().kubectl(["delete", "namespace", "quickstart", "--wait"]);
  });
}

function wish(services: string, mode: string): Record<string, string> {
  return { "networkservicemesh.io": services, "networkservicemesh.io/mode": mode };
}

async function pings(cluster: Cluster, pod: string, interfaceName: string): Promise<void> {
  const [connection] = await connectionsOf(cluster, pod, undefined, interfaceName);
  const [peer] = (connection?.status as { peerAddresses?: readonly string[] } | undefined)?.peerAddresses ?? [];
  const said = await exec(cluster, pod, `ping -c 2 -W 5 -I ${interfaceName} ${peer?.replace(/\/.*/, "")}`);
  assert.match(said, /2 packets received/);
}

/** @param count  how many, all connected; undefined: any */
function connectionsOf(cluster: Cluster, pod: string, count?: number, interfaceName?: string): Promise<ConnectionObject[]> {
  return eventually(`the connections of ${pod}`, async () => {
    const { items } = await cluster.api.call<{ items: ConnectionObject[] }>({ path: pathOf(connections, { namespace }) });
    const own = items
      .filter(({ spec }) => (spec as { pod?: string }).pod === pod)
      .filter(({ status }) => interfaceName === undefined || status?.interface === interfaceName);
    const up = own.length > 0 && own.every(({ status }) => status?.state === "Connected");
    return up && (count === undefined || own.length === count) && own;
  });
}

function exec(cluster: Cluster, pod: string, command: string): Promise<string> {
  return cluster.kubectl(["-n", namespace, "exec", pod, "-c", "main", "--", "sh", "-c", command]);
}

function endpoint(service: string, node: string, prefix: string): object {
  const env = {
    NSM_SERVICE_NAMES: service,
    NSM_CIDR_PREFIX: prefix,
    WEFT_STATE_DIR: "/tmp/state",
    NSM_UNREGISTER_ITSELF: "true",
  };
  const labels = { app: service };
  const container = {
    name: "endpoint",
    image: "ghcr.io/weft/endpoint:0.1.0",
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
  };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: service, namespace, annotations: { "networkservicemesh.io/endpoint": "true" } },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { nodeSelector: { "kubernetes.io/hostname": node }, containers: [container] } },
    },
  };
}

function restrictedPod(services: string): object {
  const securityContext = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    runAsNonRoot: true,
    runAsUser: 1000,
    seccompProfile: { type: "RuntimeDefault" },
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "confined", namespace: "strict-journey", annotations: { "networkservicemesh.io": services } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "main", image: workloadImage, imagePullPolicy: "Never", securityContext }],
    },
  };
}
