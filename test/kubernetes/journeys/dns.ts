/** Names that an endpoint brings, in pods of both modes: beside the cluster's names, through the death of the agent, and gone with the wish. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cluster } from "../rig/cluster/cluster.js";
import type { ClusterNode } from "../rig/cluster/node.js";
import { eventually } from "../rig/eventually.js";
import { record } from "../rig/figures.js";
import { untilPodReady } from "../rig/pods.js";

const namespace = "dns-journey";
const modes = ["node", "sidecar"] as const;
const nodeImage = "ghcr.io/weft/endpoint:0.1.0";
/** By its end of each pair of addresses; a client reaches one of them. */
const serverIps = ["172.16.60.0", "172.16.60.2", "172.16.60.4"];

export function dnsJourneys(cluster: () => Cluster): void {
  test("row 4.12: names of an endpoint and of the cluster in pods of both modes, resolv.conf as the kubelet wrote it", async () => {
    await cluster().kubectl(["create", "namespace", namespace]);
    await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(endpoint()));
    await cluster().kubectl(["-n", namespace, "rollout", "status", "deployment", "office", "--timeout", "90s"]);
    await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(client("plain")));
    for (const mode of modes) await cluster().kubectl(["apply", "-f", "-"], JSON.stringify(client(mode)));
    await untilPodReady(cluster(), "plain", namespace);
    for (const mode of modes) {
      await untilPodReady(cluster(), mode, namespace);
      await untilResolves(cluster(), mode);
      const say = (name: string, how: How = "lookup"): Promise<string> => resolve(cluster(), mode, name, how);
      assert.equal(await say("printer.office.example", "resolve4"), "172.16.60.99");
      assert.equal(await say("printer"), "172.16.60.99", "by the endpoint's search domain");
      assert.equal(await say("scanner.office.example"), "none");
      assert.equal(await say("kubernetes.default"), "10.96.0.1", "by the pod's own search domains");
      assert.equal(await say("kubernetes.default.svc.cluster.local", "resolve4"), "10.96.0.1");
      const conf = (pod: string): Promise<string> => exec(cluster(), pod, ["cat", "/etc/resolv.conf"], "shell");
      assert.equal(await conf(mode), await conf("plain"));
      assert.match(await exec(cluster(), mode, ["nslookup", "printer.office.example"], "shell"), /172\.16\.60\.99/);
    }
    const said = await cluster().kubectl(["-n", namespace, "get", "connections", "-o", "jsonpath={.items[*].status.names}"]);
    assert.equal(said.match(/office\.example by 172\.16\.60\.0/g)?.length, 2);
    assert.equal(await resolve(cluster(), "plain", "printer.office.example", "lookup"), "none", "nobody else's");
  });

  test("row 4.12: the agent is killed: names of the cluster go on resolving at once, those of the endpoint come back with it", async (t) => {
    const killed = await Promise.all(cluster().nodes.map(killAgent));
    assert.deepEqual(killed, [true, true]);
    const startedMs = performance.now();
    for (const mode of modes) {
      assert.equal(await resolve(cluster(), mode, "kubernetes.default.svc.cluster.local", "lookup"), "10.96.0.1", mode);
    }
    for (const mode of modes) await untilResolves(cluster(), mode);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    record(t, "agent killed: names of endpoints resolve again after", `${seconds} s`);
  });

  test("rows 4.12, 4.13: the wish goes, and with it all that was in the pod for its names", async () => {
    const wish = ["annotate", "pod", "node", "--overwrite", "networkservicemesh.io="];
    await cluster().kubectl(["-n", namespace, ...wish]);
    await eventually(
      "the name to go",
      async () => (await resolve(cluster(), "node", "printer.office.example", "lookup")) === "none",
    );
    assert.equal(await resolve(cluster(), "node", "kubernetes.default", "lookup"), "10.96.0.1");
    const tables = await Promise.all(cluster().nodes.map((node) => node.run(["/bin/sh", "-c", tablesOfPods])));
    // one is left: that of the pod with the sidecar
    assert.equal(tables.join("").match(/weft-dns/g)?.length, 1);
    await cluster().kubectl(["delete", "namespace", namespace, "--wait"]);
  });
}

type How = "lookup" | "resolve4";

/** "none" when there is no such name. */
function resolve(cluster: Cluster, pod: string, name: string, how: How): Promise<string> {
  const call = how === "lookup" ? `lookup("${name}", { family: 4 })` : `resolve4("${name}")`;
  const script = `require("node:dns").promises.${call}.then((found) => console.log(found.address ?? found.join()), () => console.log("none"))`;
  return exec(cluster, pod, ["/usr/bin/node", "-e", script], "main").then((text) => text.trim());
}

async function untilResolves(cluster: Cluster, pod: string): Promise<void> {
  const look = async (): Promise<boolean> => (await resolve(cluster, pod, "printer.office.example", "lookup")) === "172.16.60.99";
  await eventually(`names of the endpoint in pod ${pod}`, look, 60_000);
}

function exec(cluster: Cluster, pod: string, command: readonly string[], container: string): Promise<string> {
  return cluster.kubectl(["-n", namespace, "exec", pod, "-c", container, "--", ...command]);
}

/** Every namespace that a pod's sandbox has, once. */
const tablesOfPods = `for net in $(readlink /proc/[0-9]*/ns/net | sort -u); do
  for pid in /proc/[0-9]*; do [ "$(readlink $pid/ns/net)" = "$net" ] && { nsenter --net=$pid/ns/net nft list tables; break; }; done
done`;

async function killAgent(node: ClusterNode): Promise<boolean> {
  const script = `for pid in /proc/[0-9]*; do
    tr '\\0' '\\n' 2>/dev/null <$pid/environ | grep -q '^NSM_NAME=agent-' && kill -9 \${pid#/proc/} && echo killed
  done; true`;
  return (await node.run(["/bin/sh", "-c", script])).includes("killed");
}

function client(name: string): object {
  const annotations =
    name === "plain" ? {} : { "networkservicemesh.io": "kernel://office/nsm-1", "networkservicemesh.io/mode": name };
  const idle = ["/usr/bin/node", "-e", "setInterval(() => {}, 60000)"];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, annotations },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        { name: "main", image: nodeImage, imagePullPolicy: "Never", command: idle },
        { name: "shell", image: "weft.test/busybox:1", imagePullPolicy: "Never" },
      ],
    },
  };
}

/** The endpoint, and beside it a name server that knows printer.office.example and no other name. */
function endpoint(): object {
  const env = {
    NSM_SERVICE_NAMES: "office",
    NSM_CIDR_PREFIX: "172.16.60.0/28",
    NSM_DNS_CONFIGS: JSON.stringify([{ dns_server_ips: serverIps, search_domains: ["office.example"] }]),
    WEFT_STATE_DIR: "/tmp/state",
    NSM_UNREGISTER_ITSELF: "true",
  };
  const labels = { app: "office" };
  const common = { image: nodeImage, imagePullPolicy: "Never" };
  const containers = [
    { name: "endpoint", ...common, env: Object.entries(env).map(([name, value]) => ({ name, value })) },
    { name: "names", ...common, command: ["/usr/bin/node", "-e", nameServer], securityContext: { runAsUser: 0 } },
  ];
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "office", namespace, annotations: { "networkservicemesh.io/endpoint": "endpoint" } },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers } } },
  };
}

const nameServer = `
const socket = require("node:dgram").createSocket("udp4");
socket.on("message", (query, from) => {
  let at = 12, name = "";
  while (query[at] > 0) { name += query.toString("latin1", at + 1, at + 1 + query[at]) + "."; at += query[at] + 1; }
  const known = name.toLowerCase() === "printer.office.example.", isA = query.readUInt16BE(at + 1) === 1;
  const head = Buffer.from(query.subarray(0, at + 5));
  head.writeUInt16BE(known ? 0x8580 : 0x8583, 2);
  head.writeUInt16BE(known && isA ? 1 : 0, 6);
  head.fill(0, 8, 12);
  const record = known && isA ? [Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 172, 16, 60, 99])] : [];
  socket.send(Buffer.concat([head, ...record]), from.port, from.address);
});
socket.bind(53);
`;
