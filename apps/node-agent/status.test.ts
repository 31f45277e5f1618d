import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../sdk/gen/connection.js";
import type { KubernetesObject } from "../../sdk/kubernetes/resource.js";
import { parseServiceUrl } from "../../sdk/mechanisms/service-url.js";
import type { ServiceReport, ServiceState } from "./hold-pod.js";
import { connectionObject, connectionStatus, earlyMs, podPatch, podStatus, sidecarReports } from "./status.js";
import { keyOfService, wishOf } from "./wish.js";

function pod(annotations: Record<string, string>, more: Partial<KubernetesObject> = {}): KubernetesObject {
  return { metadata: { name: "app", namespace: "shop", uid: "u1", annotations }, spec: {}, ...more };
}

const node = { "networkservicemesh.io/mode": "node" };
const url = "kernel://web/nsm-1?tier=front";
const wish = wishOf(pod({ ...node, "networkservicemesh.io": url }), "networkservicemesh.io");
assert.ok(wish !== undefined);

function report(state: ServiceState, message = "", connection?: Connection): ServiceReport {
  const service = parseServiceUrl(url);
  return { key: keyOfService(service), service, state, message, connection, interfaceName: "nsm-1" };
}

test("a wish: its services, nothing for a pod that has ended, the mark for a mistake, no interfaces in the node's own network", () => {
  assert.deepEqual(
    [...wish.services.values()].map(({ networkService }) => networkService),
    ["web"],
  );
  assert.equal(wishOf(pod({}, { status: { phase: "Succeeded" } }), "networkservicemesh.io"), undefined);
  const wrong = wishOf(pod({ ...node, "networkservicemesh.io": "kernel//x" }), "networkservicemesh.io");
  assert.match(wrong?.problem ?? "", /character 7/);
  const host = wishOf(pod({ ...node, "networkservicemesh.io": url }, { spec: { hostNetwork: true } }), "networkservicemesh.io");
  assert.match(host?.problem ?? "", /hostNetwork/);
  assert.equal(host?.services.size, 0);
});

test("the condition of a pod: which of how many services is missing, and why", () => {
  assert.equal(podStatus(wish, [report("Connected")]).connected, true);
  assert.deepEqual(podStatus(wish, [report("Healing")]).reason, "Healing");
  const waiting = podStatus(wish, [report("Connected"), report("Connecting", "no endpoint")]);
  assert.equal(waiting.connected, false);
  assert.match(waiting.message, /1 of 2 services are connected; web is not: no endpoint/);
  assert.equal(podStatus({ ...wish, problem: "character 7" }, []).reason, "AnnotationRefused");
  assert.equal(podStatus(wish, []).annotation, "");
  const nothing = podStatus(wish, []);
  assert.equal("metadata" in podPatch("", nothing, 0), false);
  assert.deepEqual((podPatch("x", nothing, 0) as { metadata: object }).metadata, {
    annotations: { "networkservicemesh.io/status": null },
  });
});

test("a pod that starts is left alone until it is connected, something is wrong, or it has taken long", () => {
  const starting = pod({ ...node });
  const ready = pod({ ...node }, { status: { conditions: [{ type: "Ready", status: "True" }] } });
  assert.ok(earlyMs(starting, wish, [report("Waiting", "waiting for the namespace")], 100) > 2_000);
  assert.equal(earlyMs(starting, wish, [report("Connected")], 100), 0);
  assert.equal(earlyMs(starting, wish, [report("Failed", "no endpoint")], 100), 0);
  assert.equal(earlyMs(starting, wish, [report("Connecting")], 60_000), 0);
  assert.equal(earlyMs(starting, { ...wish, problem: "character 7" }, [], 100), 0);
  assert.equal(earlyMs(ready, wish, [report("Connecting")], 100), 0);
  // its own client is waited for by a probe
  assert.ok(earlyMs(starting, { ...wish, mode: "sidecar" }, [report("Connected")], 3_000) > 0);
  assert.equal(earlyMs(ready, { ...wish, mode: "sidecar" }, [report("Connected")], 3_000), 0);
});

test("a Connection object says what was asked for and what there is, and goes with its pod", () => {
  const connection = Connection.fromPartial({
    id: "c",
    network_service: "web",
    network_service_endpoint_name: "web-0",
    mechanism: { type: "KERNEL", parameters: { name: "nsm-1" } },
    context: {
      MTU: 1400,
      ip_context: { src_ip_addrs: ["10.0.0.1/32"], dst_ip_addrs: ["10.0.0.0/32"], src_routes: [{ prefix: "10.0.0.0/32" }] },
      dns_context: { configs: [{ dns_server_ips: ["10.0.0.0"], search_domains: ["office.example"] }] },
    },
    path: { path_segments: [{ name: "app.shop" }, { name: "nsmgr" }] },
  });
  const object = JSON.parse(JSON.stringify(connectionObject(wish, report("Connected"), "n1"))) as Record<
    string,
    Record<string, unknown>
  >;
  assert.deepEqual(object["spec"], {
    pod: "app",
    node: "n1",
    networkService: "web",
    mechanism: "KERNEL",
    interface: "nsm-1",
    labels: { tier: "front" },
    url,
    mode: "node",
  });
  assert.match(JSON.stringify(object["metadata"]), /"ownerReferences":.*"uid":"u1"/);
  const status = connectionStatus(report("Connected", "", connection), 0) as Record<string, unknown>;
  assert.deepEqual(
    [status["addresses"], status["names"], status["endpoint"], status["path"], status["mtu"]],
    [["10.0.0.1/32"], ["office.example by 10.0.0.0"], "web-0", ["app.shop", "nsmgr"], 1400],
  );
  const other = Connection.fromPartial({ ...connection, path: { path_segments: [{ name: "app.other" }] } });
  assert.equal(sidecarReports(wish, [other, connection])[0]?.state, "Connected");
  assert.equal(sidecarReports(wish, [other])[0]?.state, "Connecting");
});
