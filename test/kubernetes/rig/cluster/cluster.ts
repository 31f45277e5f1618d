/**
 * A real cluster of two nodes: kube-apiserver, etcd, controller-manager and scheduler beside the test, and for each node
 * containerd, kubelet and kube-proxy in namespaces of its own. Pods run, services have addresses and names. Everything
 * lives in the test's namespaces and ends with the test, however that ends; cgroups that a killed run left are removed
 * by the next one.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { KubernetesApi } from "../../../../sdk/kubernetes/api.js";
import { type KubernetesObject, nodes as nodeResource, pathOf } from "../../../../sdk/kubernetes/resource.js";
import { type ApiServer, startApiServer } from "../api-server.js";
import { eventually } from "../eventually.js";
import { lacking, program } from "../programs.js";
import { freePorts, type Server, startServer } from "../server.js";
import { cgroupName, removeCgroups, removeOldCgroups } from "./cgroups.js";
import { startClusterDns } from "./cluster-dns.js";
import { lan, makeLan, removeLan } from "./network.js";
import { type ClusterNode, clusterNode } from "./node.js";

export interface Cluster {
  readonly api: KubernetesApi;
  readonly kubeconfig: string;
  readonly dir: string;
  readonly nodes: readonly ClusterNode[];
  readonly apiServer: ApiServer;
  /** The API server goes away, and with it the controllers, which end without it. */
  beginOutage(): Promise<void>;
  endOutage(): Promise<void>;
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** Puts the images of an OCI archive onto every node. */
  importImages(archive: string): Promise<void>;
  /** Waits until the node has been told ready, or not ready. */
  untilReady(node: ClusterNode, ready?: boolean): Promise<void>;
  stop(): Promise<void>;
}

/** Of the rig: busybox, runs for ever unless told otherwise. */
export const workloadImage = "weft.test/busybox:1";

/** Why there can be no cluster here; false = there can. For the `skip` of a test. */
export function noCluster(): string | false {
  if (process.getuid?.() !== 0) return "a cluster needs root: run as root";
  if (process.env["WEFT_TEST_OWN_NETWORK"] !== "1")
    return "run it with npm run test:kubernetes, which gives it a network of its own";
  return lacking(
    ...(["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"] as const),
    ...(["etcd", "containerd", "ctr", "runc", "busybox", "nft"] as const),
  );
}

export async function startCluster(options: { readonly nodes?: number } = {}): Promise<Cluster> {
  const count = options.nodes ?? 2;
  const undo: (() => void | Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    removeOldCgroups();
    makeLan();
    undo.push(removeLan);
    const names = Array.from({ length: count }, (_, i) => `node-${i + 1}`);
    const { apiServer, controllers } = await startControlPlane(names, undo);
    const dns = await startClusterDns(apiServer.api, lan.address);
    undo.push(() => dns.stop());
    const nodes = await startNodes(names, apiServer, undo);
    const cluster: Cluster = {
      api: apiServer.api,
      kubeconfig: apiServer.kubeconfig,
      dir: apiServer.dir,
      nodes,
      apiServer,
      async beginOutage() {
        await controllers.stop();
        await apiServer.stopApi();
      },
      async endOutage() {
        await apiServer.startApi();
        controllers.start();
      },
      kubectl: apiServer.kubectl,
      importImages: async (archive) => void (await Promise.all(nodes.map((node) => node.importImages(archive)))),
      untilReady: (node, ready = true) => untilReady(apiServer.api, node, ready),
      stop,
    };
    await Promise.all(nodes.map((node) => cluster.untilReady(node)));
    const path = "/api/v1/namespaces/default/serviceaccounts/default";
    await eventually("the service account of new pods", () => apiServer.api.call({ path }));
    return cluster;
  } catch (error) {
    await stop();
    throw error;
  }
}

interface ControlPlane {
  readonly apiServer: ApiServer;
  readonly controllers: Program;
}

interface Program {
  start(): void;
  stop(): Promise<void>;
}

async function startControlPlane(names: readonly string[], undo: (() => void | Promise<void>)[]): Promise<ControlPlane> {
  const kubelets = names.map((name) => `system:node:${name}`);
  const users = ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", ...kubelets];
  const apiServer = await startApiServer({
    address: lan.address,
    users: [...users, "nobody"],
    groups: Object.fromEntries(kubelets.map((user) => [user, ["system:nodes"]])),
    flags: {
      "advertise-address": lan.address,
      "kubelet-preferred-address-types": "InternalIP",
      "authorization-mode": "Node,RBAC",
      "enable-admission-plugins": "NodeRestriction",
      "disable-admission-plugins": undefined,
      "endpoint-reconciler-type": "lease",
      // webhooks are reached by the addresses of their pods, because no kube-proxy runs beside the server
      "enable-aggregator-routing": "true",
      "default-not-ready-toleration-seconds": "10",
      "default-unreachable-toleration-seconds": "10",
    },
  });
  undo.push(() => apiServer.stop());
  const [managerPort, schedulerPort] = await freePorts(2);
  const prepare = (name: "kube-controller-manager" | "kube-scheduler", port: number | undefined, flags: object): Program => {
    const all = {
      kubeconfig: apiServer.kubeconfigOf(`system:${name}`),
      "bind-address": "127.0.0.1",
      "secure-port": String(port),
      "leader-elect": "false",
      ...flags,
    };
    const args = Object.entries(all).map(([flag, value]) => `--${flag}=${value}`);
    let server: Server | undefined;
    const stop = async (): Promise<void> => await server?.stop("SIGKILL");
    undo.push(stop);
    return {
      start() {
        server = startServer(name, [program(name), ...args]);
      },
      stop,
    };
  };
  const controllers = prepare("kube-controller-manager", managerPort, {
    "use-service-account-credentials": "true",
    "service-account-private-key-file": join(apiServer.dir, "sa.key"),
    "root-ca-file": join(apiServer.dir, "apiserver.crt"),
    "cluster-cidr": lan.clusterCidr,
    "service-cluster-ip-range": lan.serviceCidr,
    // a node that is gone is noticed within a test's patience
    "node-monitor-grace-period": "12s",
    "node-monitor-period": "2s",
  });
  controllers.start();
  prepare("kube-scheduler", schedulerPort, {}).start();
  return { apiServer, controllers };
}

async function startNodes(
  names: readonly string[],
  apiServer: ApiServer,
  undo: (() => void | Promise<void>)[],
): Promise<ClusterNode[]> {
  const cgroup = cgroupName();
  undo.push(() => removeCgroups(cgroup));
  const nodes = names.map((name, index) =>
    clusterNode(
      {
        name,
        dir: join(apiServer.dir, name),
        address: lan.nodeAddress(index),
        podCidr: lan.podCidr(index),
        cgroup: `${cgroup}/${name}`,
        clusterCidr: lan.clusterCidr,
        dns: lan.address,
        kubeletKubeconfig: readFileSync(apiServer.kubeconfigOf(`system:node:${name}`), "utf8"),
        proxyKubeconfig: readFileSync(apiServer.kubeconfigOf("system:kube-proxy"), "utf8"),
      },
      { index, count: names.length },
    ),
  );
  const archive = join(apiServer.dir, "rig-images.tar");
  const script = fileURLToPath(new URL("pack-images.mjs", import.meta.url));
  execFileSync(process.execPath, [script, program("busybox"), archive]);
  await Promise.all(
    nodes.map(async (node) => {
      undo.push(() => node.crash());
      await node.start();
      await node.importImages(archive);
      const path = pathOf(nodeResource, { name: node.name });
      const body = { spec: { podCIDR: node.podCidr, podCIDRs: [node.podCidr] } };
      const registered = () => apiServer.api.call<NodeObject>({ method: "PATCH", path, body });
      await eventually(`the registration of ${node.name}`, registered, 120_000).catch((error: Error) => {
        throw new Error(`${error.message}\n${node.log("kubelet").slice(-3_000)}`, { cause: error });
      });
    }),
  );
  return nodes;
}

interface NodeObject extends KubernetesObject {
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

async function untilReady(api: KubernetesApi, node: ClusterNode, wanted: boolean): Promise<void> {
  let last = "";
  const look = async (): Promise<boolean> => {
    const { status } = await api.call<NodeObject>({ path: pathOf(nodeResource, { name: node.name }) });
    const condition = status.conditions?.find(({ type }) => type === "Ready");
    last = JSON.stringify(condition);
    return (condition?.status === "True") === wanted;
  };
  await eventually(`${node.name} to be ${wanted ? "ready" : "not ready"}`, look, 180_000).catch((error: Error) => {
    throw new Error(`${error.message}: ${last}\n${node.log("kubelet").slice(-3_000)}`, { cause: error });
  });
}
