/** The configuration of a node's programs. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

export interface NodePlace {
  readonly name: string;
  /** Its disk: outlives a crash. */
  readonly dir: string;
  readonly address: string;
  readonly podCidr: string;
  /** Below each cgroup hierarchy, without leading slash. */
  readonly cgroup: string;
  readonly clusterCidr: string;
  readonly dns: string;
  readonly kubeletKubeconfig: string;
  readonly proxyKubeconfig: string;
}

export const pauseImage = "weft.test/pause:1";

export function writeNodeFiles(node: NodePlace): void {
  mkdirSync(node.dir, { recursive: true });
  const write = (name: string, text: string): void => writeFileSync(join(node.dir, name), text, { mode: 0o600 });
  write("address", node.address);
  write("resolv.conf", `nameserver ${node.dns}\n`);
  write("containerd.toml", containerdToml);
  write("cni.conflist", JSON.stringify(cniList(node.podCidr)));
  write("kubelet.kubeconfig", node.kubeletKubeconfig);
  write("kube-proxy.kubeconfig", node.proxyKubeconfig);
  write("kubelet.yaml", stringify(kubeletConfig(node)));
  write("kube-proxy.yaml", stringify(proxyConfig(node)));
}

/** restrict_oom_score_adj, hugetlb: for machines where root lacks CAP_SYS_RESOURCE, and hybrid cgroups. */
const containerdToml = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  disable_apparmor = true
  enable_unprivileged_ports = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`;

/** ptp routes every packet of a pod through the node, so that service addresses work without bridge netfilter. */
function cniList(podCidr: string): object {
  return {
    cniVersion: "1.0.0",
    name: "weft-test",
    plugins: [
      {
        type: "ptp",
        ipMasq: false,
        mtu: 1500,
        ipam: { type: "host-local", ranges: [[{ subnet: podCidr }]], routes: [{ dst: "0.0.0.0/0" }], dataDir: "/run/cni-ipam" },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

function kubeletConfig({ cgroup, dns }: NodePlace): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    // a node of the test answers whoever reaches it, which is nobody else
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${cgroup}`,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    failCgroupV1: false,
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    clusterDNS: [dns],
    clusterDomain: "cluster.local",
    volumePluginDir: "/var/lib/kubelet/volume-plugins",
    nodeStatusUpdateFrequency: "5s",
    nodeStatusReportFrequency: "30s",
    nodeLeaseDurationSeconds: 10,
    imageGCHighThresholdPercent: 100,
    evictionHard: { "memory.available": "20Mi" },
    syncFrequency: "10s",
    serializeImagePulls: false,
    registryPullQPS: 0,
    eventRecordQPS: 0,
    shutdownGracePeriod: "0s",
    maxPods: 250,
  };
}

function proxyConfig({ dir, clusterCidr, address }: NodePlace): object {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clusterCIDR: clusterCidr,
    bindAddress: address,
    metricsBindAddress: "127.0.0.1:10249",
    healthzBindAddress: "127.0.0.1:10256",
    clientConnection: { kubeconfig: join(dir, "kube-proxy.kubeconfig") },
    // leaves the machine's tables as they are
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    nftables: { minSyncPeriod: "100ms", syncPeriod: "30s" },
  };
}
