#!/usr/bin/env bash
# The first process of a test node, in namespaces of its own (mounts, processes, hostname, IPC, network): a node's own
# /run, /var/lib, /var/log and /etc over the machine's, then containerd, kubelet and kube-proxy. All ends with it.
#   node-init.sh NAME DIR BIN CGROUP
# DIR is the node's disk and outlives a crash; BIN has kubelet and kube-proxy; CGROUP is below each cgroup hierarchy.
set -eu
name=$1 dir=$2 bin=$3 cgroup=$4
mkdir -p "$dir"/{lib,log,etc,etc-work,run}
hostname "$name"
mount --make-rshared /
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/netns /run/containerd
mkdir -p "$dir"/lib/{kubelet,containerd,cni,networkservicemesh}
mount --bind "$dir/lib" /var/lib
mount --bind "$dir/log" /var/log
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc-work" overlay /etc
mkdir -p /etc/cni/net.d
cp "$dir/cni.conflist" /etc/cni/net.d/10-weft-test.conflist
cp --remove-destination "$dir/resolv.conf" /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
# The kubelet sets these for the whole machine; here it sets copies.
for key in vm/overcommit_memory kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  if [ -e "/proc/sys/$key" ]; then
    copy="/run/sysctl-${key//\//-}"
    cat "/proc/sys/$key" >"$copy"
    mount --bind "$copy" "/proc/sys/$key"
  fi
done
for hierarchy in /sys/fs/cgroup/*/; do
  mkdir -p "$hierarchy$cgroup" 2>/dev/null || continue
  part=$hierarchy
  # with cpuset a group without processors and memory takes no process
  for step in ${cgroup//\// }; do
    for key in cpuset.cpus cpuset.mems; do
      if [ -e "$part$key" ]; then cat "$part$key" >"$part$step/$key"; fi
    done
    part=$part$step/
  done
done
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 || true
sysctl -qw net.ipv6.conf.all.forwarding=1 || true

containerd --config "$dir/containerd.toml" >>"$dir/containerd.log" 2>&1 &
for _ in $(seq 600); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.05; done
"$bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig" --hostname-override="$name" \
  --node-ip="$(cat "$dir/address")" --root-dir=/var/lib/kubelet --v=1 >>"$dir/kubelet.log" 2>&1 &
"$bin/kube-proxy" --config="$dir/kube-proxy.yaml" --hostname-override="$name" >>"$dir/kube-proxy.log" 2>&1 &
echo up
# as the first process it inherits orphans; wait takes them
while :; do wait -n || true; sleep 0.2; done
