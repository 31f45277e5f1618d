import assert from "node:assert/strict";
import { test } from "node:test";
import { decide } from "./decide.js";
import { applyPatch } from "./testing/apply-patch.js";
import { surroundingsForTests } from "./testing/surroundings.js";

interface Made {
  readonly spec: {
    readonly containers: readonly {
      readonly env: readonly { readonly name: string; readonly value?: string }[];
      readonly volumeMounts: readonly { readonly name: string }[];
    }[];
    readonly initContainers?: readonly object[];
    readonly volumes: readonly { readonly name: string }[];
  };
}

const endpoint = { "networkservicemesh.io/endpoint": "true" };

function create(annotations: Record<string, string>, container: object = {}, around = surroundingsForTests) {
  const object = { metadata: { name: "e", annotations }, spec: { containers: [{ name: "app", ...container }, { name: "log" }] } };
  const verdict = decide({ uid: "u", kind: "Pod", operation: "CREATE", namespace: "n", object, oldObject: undefined }, around);
  return { verdict, made: () => applyPatch(object, verdict.allowed ? verdict.patch : []) as Made };
}

test("an endpoint gets socket, name and identity; what it has set itself stays", () => {
  const made = create(endpoint, { env: [{ name: "NSM_NAME", value: "mine" }] }).made();
  const [app, log] = made.spec.containers;
  assert.equal(app?.env.find(({ name }) => name === "NSM_NAME")?.value, "mine");
  assert.equal(app?.env.filter(({ name }) => name === "NSM_NAME").length, 1);
  assert.equal(app?.env.at(-1)?.value, "mine", "ours come first, so that theirs may refer to them");
  assert.ok(log?.env.some(({ name }) => name === "WEFT_JOIN_TOKEN_FILE"));
  assert.deepEqual(
    made.spec.volumes.map(({ name }) => name),
    ["nsm-socket", "weft-identity"],
  );
});

test("only the named containers; a name that is not there is refused", () => {
  const made = create({ "networkservicemesh.io/endpoint": "log" }).made();
  assert.equal(made.spec.containers[0]?.env, undefined);
  assert.ok(made.spec.containers[1]?.env.length);
  const { verdict } = create({ "networkservicemesh.io/endpoint": "lgo" });
  assert.ok(!verdict.allowed);
  assert.match(verdict.message, /no container is called "lgo"; write "true", or names of app, log/);
});

test("a pod that is an endpoint and a client has each volume once", () => {
  const made = create({ ...endpoint, "networkservicemesh.io": "kernel://next/nsm-1" }).made();
  assert.deepEqual(
    made.spec.volumes.map(({ name }) => name),
    ["nsm-socket", "weft-identity"],
  );
  assert.equal(made.spec.initContainers?.length, 1);
});

test("an endpoint where host paths are forbidden is refused with the remedy", () => {
  const namespace = { labels: { "pod-security.kubernetes.io/enforce": "restricted" } };
  const { verdict } = create(endpoint, {}, { ...surroundingsForTests, namespace });
  assert.ok(!verdict.allowed);
  assert.match(verdict.message, /CSI driver/);
  assert.ok(create(endpoint, {}, { ...surroundingsForTests, namespace, csi: true }).verdict.allowed);
});
