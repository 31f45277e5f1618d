import assert from "node:assert/strict";
import { test } from "node:test";
import {
  joinPrefixes,
  prefixesOfKubeadm,
  prefixesOfKubeProxy,
  prefixesOfNode,
  prefixesOfOperator,
  prefixesOfService,
  prefixesOfServiceCidr,
} from "./network-objects.js";
import type { KubernetesObject } from "./resource.js";

test("a node tells its pod networks and its addresses", () => {
  const spec = { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24", "fd00:1::/64"] };
  const addresses = [
    { type: "InternalIP", address: "192.168.1.5" },
    { type: "InternalIP", address: "fd00:2::5" },
    { type: "Hostname", address: "node-1" },
  ];
  const { prefixes } = prefixesOfNode(object({ spec, status: { addresses } }));
  assert.deepEqual(prefixes, ["10.244.1.0/24", "fd00:1::/64", "10.244.1.0/24", "192.168.1.5/32", "fd00:2::5/128"]);
});

test("services, kubeadm, kube-proxy and the operator tell theirs", () => {
  assert.deepEqual(prefixesOfServiceCidr(object({ spec: { cidrs: ["10.96.0.0/12"] } })).prefixes, ["10.96.0.0/12"]);
  assert.deepEqual(prefixesOfService(object({ spec: { clusterIPs: ["10.96.0.1", "None"] } })).prefixes, ["10.96.0.1/32"]);
  const kubeadm = "networking:\n  podSubnet: 10.244.0.0/16, fd00::/56\n  serviceSubnet: 10.96.0.0/12\n";
  assert.deepEqual(prefixesOfKubeadm(object({ data: { ClusterConfiguration: kubeadm } })).prefixes, [
    "10.244.0.0/16",
    "fd00::/56",
    "10.96.0.0/12",
  ]);
  assert.deepEqual(prefixesOfKubeProxy(object({ data: { "config.conf": "clusterCIDR: 10.244.0.0/16" } })).prefixes, [
    "10.244.0.0/16",
  ]);
  const own = "Prefixes:\n- 172.16.0.0/12\n- 10.1.2.3\n";
  assert.deepEqual(prefixesOfOperator(object({ data: { "excluded_prefixes_input.yaml": own } })).prefixes, [
    "172.16.0.0/12",
    "10.1.2.3",
  ]);
});

const nonsense: [why: string, found: { problem?: string }, problem: RegExp][] = [
  ["no YAML", prefixesOfKubeadm(object({ data: { ClusterConfiguration: "a: [" } })), /ConfigMap n\/o, key ClusterConfiguration/],
  ["no key", prefixesOfKubeProxy(object({})), /key config\.conf is missing/],
  [
    "no prefix",
    prefixesOfOperator(object({ data: { "excluded_prefixes_input.yaml": "prefixes: [x, 7]" } })),
    /no IP prefix: "x", "7"/,
  ],
];
for (const [why, found, problem] of nonsense) {
  test(`a source that is nonsense is told, and gives nothing: ${why}`, () => assert.match(found.problem ?? "", problem));
}

test("objects of any shape give no exception", () => {
  for (const value of [null, undefined, 7, "x", [], [null], { podCIDRs: 7, cidrs: { a: 1 }, addresses: [null, 7] }]) {
    for (const read of [
      prefixesOfNode,
      prefixesOfServiceCidr,
      prefixesOfService,
      prefixesOfKubeadm,
      prefixesOfKubeProxy,
      prefixesOfOperator,
    ]) {
      assert.deepEqual(read(object({ spec: value, status: value, data: value })).prefixes, []);
    }
  }
});

test("the joined list has no prefix inside another, normalised and in order", () => {
  const all = ["10.244.1.0/24", "10.244.0.0/16", "10.0.0.5/32", "fd00::/56", "fd00:0:0:1::/64", "10.96.0.7/12", "10.0.0.5/32"];
  assert.deepEqual(joinPrefixes(all), ["10.0.0.5/32", "10.96.0.0/12", "10.244.0.0/16", "fd00::/56"]);
});

function object(parts: Record<string, unknown>): KubernetesObject {
  return { metadata: { name: "o", namespace: "n" }, ...parts };
}
