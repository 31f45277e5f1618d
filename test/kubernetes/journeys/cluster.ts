/** The cluster itself: that what the other journeys stand on is real. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cluster, workloadImage } from "../rig/cluster/cluster.js";
import { applyPod, podIp, untilPodReady } from "../rig/pods.js";

export function clusterJourneys(cluster: () => Cluster): void {
  test("pods run on both nodes, reach each other and services by name", async () => {
    const { kubectl } = cluster();
    for (const node of cluster().nodes)
      await applyPod(cluster(), { name: `on-${node.name}`, node: node.name, labels: { app: "web" } });
    await kubectl(
      ["apply", "-f", "-"],
      JSON.stringify({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web" },
        spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] },
      }),
    );
    for (const node of cluster().nodes) await untilPodReady(cluster(), `on-${node.name}`);
    const [first, second] = cluster().nodes;
    assert.ok(first && second);
    const peer = await podIp(cluster(), `on-${second.name}`);
    const ping = await kubectl(["exec", `on-${first.name}`, "--", "ping", "-c", "2", "-W", "5", peer]);
    assert.match(ping, /2 packets received/);
    const found = await kubectl(["exec", `on-${first.name}`, "--", "nslookup", "web.default.svc.cluster.local"]);
    assert.match(found, /10\.96\./);
    const image = await kubectl(["get", "pod", `on-${first.name}`, "-o", "jsonpath={.spec.containers[0].image}"]);
    assert.equal(image, workloadImage);
    await kubectl(["delete", "service/web", ...cluster().nodes.map(({ name }) => `pod/on-${name}`), "--now"]);
  });

  test("a node that crashes is told not ready, and comes back with its disk", async () => {
    const node = cluster().nodes[1];
    assert.ok(node);
    await node.crash();
    await cluster().untilReady(node, false);
    await node.start();
    await cluster().untilReady(node);
    await applyPod(cluster(), { name: "after", node: node.name });
    await untilPodReady(cluster(), "after");
    await cluster().kubectl(["delete", "pod", "after", "--now"]);
  });
}
