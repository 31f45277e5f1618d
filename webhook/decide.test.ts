import assert from "node:assert/strict";
import { test } from "node:test";
import { decide, type Review } from "./decide.js";
import type { PatchOperation, Pod } from "./objects.js";
import { answerOf, parseReview } from "./review.js";
import { applyPatch } from "./testing/apply-patch.js";
import { surroundingsForTests } from "./testing/surroundings.js";

const url = "kernel://icmp-responder/nsm-1";
const around = surroundingsForTests;

function pod(annotations: Record<string, string> | undefined, spec: object = {}): object {
  return {
    kind: "Pod",
    metadata: { name: "app", ...(annotations === undefined ? {} : { annotations }) },
    spec: { containers: [{ name: "app", image: "app" }], ...spec },
  };
}

function review(object: object, more: Partial<Review> = {}): Review {
  return { uid: "u", kind: "Pod", operation: "CREATE", namespace: "default", object, oldObject: undefined, ...more };
}

function allowed(asked: Review, surroundings = around): { patch: readonly PatchOperation[]; warnings: readonly string[] } {
  const verdict = decide(asked, surroundings);
  assert.ok(verdict.allowed, verdict.allowed ? "" : verdict.message);
  return verdict;
}

function patched(asked: Review, surroundings = around): Pod & { metadata: { annotations: Record<string, string> } } {
  return applyPatch(asked.object, allowed(asked, surroundings).patch) as ReturnType<typeof patched>;
}

/** A container as far as these tests look into it; more than the webhook itself knows of one. */
interface PatchedContainer {
  readonly name: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly restartPolicy?: string;
  readonly startupProbe?: { readonly httpGet: object };
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly resources?: { readonly limits: Readonly<Record<string, string>> };
}

function containerOf({ spec }: Pod, index: number): PatchedContainer {
  return (spec?.initContainers?.[index] ?? assert.fail(`no container ${index}`)) as PatchedContainer;
}

const goldenAnnotations = [
  "kernel://vl3-basic/nsm-1",
  "kernel://vl3-dns/myiface",
  "kernel://vl3-lb/nsm-1?app=finance",
  "kernel://my-vl3-network@my.cluster1/nsm-1?dnsName=front-page",
  "kernel://floating-vl3-basic@my.cluster3/nsm-1",
  "kernel://autoscale-interdomain-vl3-network@my.cluster3/nsm-1?clusterName=cluster1",
  "kernel://interdomain-dns@my.cluster2/nsm-1",
  "kernel://scale-from-zero/nsm-1",
  "kernel://autoscale-istio-proxy@my.cluster2/nsm-1?app=greeting",
  "kernel://kernel2rvlan-breakout/nsm-1",
  "kernel://blue-bridge.ns-kernel2vlan-multins-2/nsm-1",
  "kernel://multiple-services-1/nsm-1,kernel://multiple-services-2/nsm-2",
  "kernel://webhook-smartvf/nsm-1?sriovToken=worker.domain/100G",
];
for (const annotation of goldenAnnotations) {
  test(`row 9.1: the annotation ${annotation} works as it is`, () => {
    const after = patched(review(pod({ "networkservicemesh.io": annotation })));
    assert.equal(containerOf(after, 0).env?.find(({ name }) => name === "NSM_NETWORK_SERVICES")?.value, annotation);
  });
}

test("row 9.1, 9.5: a native sidecar starts before the workload, and what the pod had stays as it was", () => {
  const before = pod({ "networkservicemesh.io": url }, { initContainers: [{ name: "first" }], volumes: [{ name: "data" }] });
  const after = patched(review(before)) as Pod & { metadata: { labels: object } };
  assert.deepEqual(
    after.spec?.initContainers?.map(({ name }) => name),
    ["first", "weft-client"],
  );
  assert.deepEqual(
    after.spec?.containers?.map(({ name }) => name),
    ["app"],
  );
  assert.deepEqual(
    after.spec?.volumes?.map(({ name }) => name),
    ["data", "nsm-socket", "weft-identity"],
  );
  assert.deepEqual(after.metadata.labels, { "spiffe.io/spiffe-id": "true" });
  const client = containerOf(after, 1);
  assert.equal(client.restartPolicy, "Always");
  assert.deepEqual(client.startupProbe?.httpGet, { path: "/readyz", port: 15390 });
});

test("a cluster without native sidecars gets an init container and a container", () => {
  const after = patched(review(pod({ "networkservicemesh.io": url })), { ...around, native: false });
  assert.deepEqual(
    after.spec?.initContainers?.map(({ name }) => name),
    ["weft-client-init"],
  );
  assert.deepEqual(
    after.spec?.containers?.map(({ name }) => name),
    ["app", "weft-client"],
  );
  const job = review(pod({ "networkservicemesh.io": url }, { restartPolicy: "Never" }));
  assert.match(allowed(job, { ...around, native: false }).warnings[0] ?? "", /keeps this pod from completing.*mode: node/);
});

test("idempotent: the pod that comes out gets nothing more, nor does one with upstream's client", () => {
  const once = patched(review(pod({ "networkservicemesh.io": url })));
  assert.deepEqual(allowed(review(once)).patch, []);
  const upstream = pod({ "networkservicemesh.io": url }, { containers: [{ name: "app" }, { name: "cmd-nsc" }] });
  assert.deepEqual(allowed(review(upstream)).patch, []);
});

test("patches add elements: an operation never replaces a list that is there", () => {
  const before = pod({ "networkservicemesh.io": url }, { initContainers: [{ name: "first" }], volumes: [{ name: "data" }] });
  for (const operation of allowed(review(before)).patch) {
    assert.equal(operation.op, "add");
    assert.match(operation.path, /\/-$|^\/metadata\//, operation.path);
  }
});

test("row 9.2: the annotation of the namespace holds for pods that have none, and an empty one opts out", () => {
  const namespace = { annotations: { "networkservicemesh.io": url } };
  const after = patched(review(pod(undefined)), { ...around, namespace });
  assert.equal(after.metadata.annotations["networkservicemesh.io"], url);
  assert.equal(after.spec?.initContainers?.[0]?.name, "weft-client");
  assert.deepEqual(allowed(review(pod({ "networkservicemesh.io": "" })), { ...around, namespace }).patch, []);
  const own = patched(review(pod({ "networkservicemesh.io": "kernel://own" })), { ...around, namespace });
  assert.equal(own.metadata.annotations["networkservicemesh.io"], "kernel://own");
});

test("mode node: no container, no volume, and a gate that the agent opens", () => {
  const wish = { "networkservicemesh.io": url, "networkservicemesh.io/mode": "node" };
  const after = patched(review(pod(wish)));
  assert.equal(after.spec?.initContainers, undefined);
  assert.equal(after.spec?.volumes, undefined);
  assert.deepEqual(after.spec?.readinessGates, [{ conditionType: "networkservicemesh.io/connected" }]);
  const byNamespace = { ...around, namespace: { annotations: { "networkservicemesh.io/mode": "node" } } };
  assert.equal(patched(review(pod({ "networkservicemesh.io": url })), byNamespace).spec?.initContainers, undefined);
  assert.equal(
    patched(review(pod({ "networkservicemesh.io": url })), { ...around, defaultMode: "node" }).spec?.initContainers,
    undefined,
  );
});

test("row 8.6: where Pod Security forbids host paths the node's agent connects; with CSI drivers a sidecar may", () => {
  const namespace = { labels: { "pod-security.kubernetes.io/enforce": "restricted" } };
  const asked = review(pod({ "networkservicemesh.io": url }));
  const after = patched(asked, { ...around, namespace });
  assert.equal(after.spec?.initContainers, undefined);
  assert.equal(after.metadata.annotations["networkservicemesh.io/mode"], "node");
  assert.match(allowed(asked, { ...around, namespace }).warnings[0] ?? "", /mode node is used/);
  const csi = patched(asked, { ...around, namespace, csi: true });
  assert.ok(JSON.stringify(csi.spec?.volumes).includes("csi.networkservicemesh.io"));
  assert.ok(!JSON.stringify(csi.spec?.volumes).includes("hostPath"));
  const { securityContext } = containerOf(csi, 0);
  assert.equal(securityContext?.["runAsNonRoot"], true);
  assert.deepEqual(securityContext?.["capabilities"], { drop: ["ALL"] });
  assert.deepEqual(securityContext?.["seccompProfile"], { type: "RuntimeDefault" });
});

test("sriovToken becomes a device in the limits of the client", () => {
  const annotation = "kernel://a/nsm-1?sriovToken=worker.domain/100G,kernel://b/nsm-2?sriovToken=worker.domain/100G";
  const after = patched(review(pod({ "networkservicemesh.io": annotation })));
  assert.deepEqual(containerOf(after, 0).resources?.limits, { memory: "80Mi", cpu: "200m", "worker.domain/100G": "2" });
});

for (const kind of ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"]) {
  test(`row 9.1: a ${kind} hands its annotation down to its pods, once`, () => {
    const workload = {
      metadata: { name: "w", annotations: { "networkservicemesh.io": url } },
      spec: { template: pod(undefined) },
    };
    const after = applyPatch(workload, allowed(review(workload, { kind })).patch) as { spec: { template: Pod } };
    assert.equal(after.spec.template.metadata?.annotations?.["networkservicemesh.io"], url);
    assert.equal(after.spec.template.spec?.initContainers, undefined, "the Pod review injects, so nothing is injected twice");
    assert.deepEqual(allowed(review(after, { kind })).patch, []);
  });
}

test("a changed annotation of a Deployment changes its pods; what the template says itself stays", () => {
  const make = (wish: string | undefined, below: string | undefined): object => ({
    metadata: { name: "w", annotations: wish === undefined ? {} : { "networkservicemesh.io": wish } },
    spec: { template: pod(below === undefined ? {} : { "networkservicemesh.io": below }) },
  });
  const update = (before: object, now: object): string | undefined => {
    const asked = review(now, { kind: "Deployment", operation: "UPDATE", oldObject: before });
    const after = applyPatch(now, allowed(asked).patch) as { spec: { template: Pod } };
    return after.spec.template.metadata?.annotations?.["networkservicemesh.io"];
  };
  assert.equal(update(make("kernel://a", "kernel://a"), make("kernel://b", "kernel://a")), "kernel://b");
  assert.equal(update(make("kernel://a", "kernel://a"), make(undefined, "kernel://a")), undefined);
  assert.equal(update(make("kernel://a", "kernel://own"), make("kernel://b", "kernel://own")), "kernel://own");
  const owned = {
    metadata: { annotations: { "networkservicemesh.io": url }, ownerReferences: [{ kind: "Deployment", controller: true }] },
  };
  assert.deepEqual(allowed(review(owned, { kind: "ReplicaSet" })).patch, []);
});

const refusals: { why: string; object: object; kind?: string; says: RegExp }[] = [
  { why: "no mechanism", object: pod({ "networkservicemesh.io": "icmp-responder" }), says: /expected ":\/\/"[\s\S]*\n {16}\^$/ },
  {
    why: "an unknown mechanism",
    object: pod({ "networkservicemesh.io": "kernal://a" }),
    says: /no mechanism is called "kernal"/,
  },
  { why: "a wrong character", object: pod({ "networkservicemesh.io": "kernel://a,kernel://b c" }), says: /character 22/ },
  {
    why: "one interface twice",
    object: pod({ "networkservicemesh.io": "kernel://a/n,kernel://b/n" }),
    says: /a and b would both have the interface "n"/,
  },
  {
    why: "too many",
    object: pod({ "networkservicemesh.io": Array.from({ length: 100 }, (_, i) => `kernel://s${i}`).join() }),
    says: /100 services/,
  },
  {
    why: "an unknown mode",
    object: pod({ "networkservicemesh.io": url, "networkservicemesh.io/mode": "magic" }),
    says: /"magic" is neither/,
  },
  { why: "host network", object: pod({ "networkservicemesh.io": url }, { hostNetwork: true }), says: /hostNetwork/ },
  {
    why: "containers that are none",
    object: pod({ "networkservicemesh.io": url }, { containers: "x" }),
    says: /spec.containers is no list/,
  },
  {
    why: "a Namespace",
    kind: "Namespace",
    object: { metadata: { annotations: { "networkservicemesh.io": "kernel//x" } } },
    says: /annotation networkservicemesh.io: service URL, character 7/,
  },
  {
    why: "a Deployment",
    kind: "Deployment",
    object: { metadata: { annotations: { "networkservicemesh.io": "x" } }, spec: {} },
    says: /character 2/,
  },
];
for (const { why, object, kind = "Pod", says } of refusals) {
  test(`refused: ${why}`, () => {
    const verdict = decide(review(object, { kind }), around);
    assert.ok(!verdict.allowed);
    assert.match(verdict.message, says);
  });
}

test("a running pod: a wrong wish is refused, an untouched old mistake is not, the mode stays", () => {
  const update = (before: Record<string, string>, now: Record<string, string>) =>
    decide(review(pod(now), { operation: "UPDATE", oldObject: pod(before) }), around);
  const node = { "networkservicemesh.io/mode": "node" };
  assert.deepEqual(update({ ...node }, { ...node, "networkservicemesh.io": url }), { allowed: true, patch: [], warnings: [] });
  assert.equal(update({ ...node }, { ...node, "networkservicemesh.io": "nonsense" }).allowed, false);
  assert.equal(
    update({ "networkservicemesh.io": "nonsense" }, { "networkservicemesh.io": "nonsense", other: "x" }).allowed,
    true,
  );
  assert.equal(update(node, { "networkservicemesh.io/mode": "sidecar" }).allowed, false);
});

test("names from JSON are hostile: __proto__ and constructor are names like others", () => {
  const object = JSON.parse(
    '{"metadata":{"annotations":{"__proto__":"kernel://x","constructor":"y"}},"spec":{"containers":[]}}',
  ) as object;
  assert.deepEqual(allowed(review(object)).patch, []);
  assert.deepEqual(allowed(review(object, { kind: "constructor" })).patch, []);
});

test("an AdmissionReview is read and answered; what is none is refused", () => {
  const text = JSON.stringify({
    kind: "AdmissionReview",
    apiVersion: "admission.k8s.io/v1",
    request: {
      uid: "u1",
      kind: { kind: "Pod" },
      operation: "CREATE",
      namespace: "n",
      object: pod({ "networkservicemesh.io": url }),
    },
  });
  const read = parseReview(text);
  assert.equal(read.uid, "u1");
  const answer = answerOf(read.uid, decide(read, around)) as { response: { patch: string; patchType: string } };
  assert.equal(answer.response.patchType, "JSONPatch");
  assert.ok(Array.isArray(JSON.parse(Buffer.from(answer.response.patch, "base64").toString())));
  for (const bad of [
    "",
    "[]",
    "null",
    '{"kind":"AdmissionReview"}',
    '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}',
  ]) {
    assert.throws(() => parseReview(bad), /this is no AdmissionReview/, bad);
  }
});
