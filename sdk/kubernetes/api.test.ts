import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "../status.js";
import { missingRule, refusal } from "./api-error.js";
import { findApiConnection, podConnection } from "./connection.js";
import { networkServiceEndpoints, nodes, pathOf } from "./resource.js";
import { watchEvents } from "./watch-events.js";

test("a refusal by RBAC names the rule that is missing, ready to be copied", () => {
  const user = 'User "system:serviceaccount:nsm-system:registry"';
  const group = 'API group "networkservicemesh.io"';
  const cases: [string, string | undefined][] = [
    [
      `x is forbidden: ${user} cannot list resource "networkservices" in ${group} at the cluster scope`,
      '{apiGroups: ["networkservicemesh.io"], resources: ["networkservices"], verbs: ["list"]} in a ClusterRole',
    ],
    [
      `configmaps is forbidden: ${user} cannot get resource "configmaps" in API group "" in the namespace "kube-system"`,
      '{apiGroups: [""], resources: ["configmaps"], verbs: ["get"]} in a Role of namespace kube-system',
    ],
    [
      `x is forbidden: ${user} cannot patch resource "networkservices/status" in ${group} in the namespace "n": why`,
      '{apiGroups: ["networkservicemesh.io"], resources: ["networkservices/status"], verbs: ["patch"]} in a Role of namespace n',
    ],
    ["violates PodSecurity", undefined],
  ];
  for (const [message, rule] of cases) assert.equal(missingRule(message), rule);
  const error = refusal("list", 403, { message: cases[0]?.[0], reason: "Forbidden" });
  assert.equal(error.code, Code.PERMISSION_DENIED);
  assert.match(error.details, /missing RBAC rule: \{apiGroups/);
});

const codes: [number, string, number][] = [
  [400, "BadRequest", Code.INVALID_ARGUMENT],
  [401, "Unauthorized", Code.UNAUTHENTICATED],
  [404, "NotFound", Code.NOT_FOUND],
  [409, "AlreadyExists", Code.ALREADY_EXISTS],
  [409, "Conflict", Code.ABORTED],
  [410, "Expired", Code.OUT_OF_RANGE],
  [422, "Invalid", Code.INVALID_ARGUMENT],
  [429, "TooManyRequests", Code.UNAVAILABLE],
  [500, "InternalError", Code.UNAVAILABLE],
  [503, "", Code.UNAVAILABLE],
];
for (const [httpStatus, reason, code] of codes) {
  test(`HTTP ${httpStatus} ${reason} becomes a status`, () => {
    const error = refusal("do it", httpStatus, { reason, message: "why" });
    assert.deepEqual([error.code, error.httpStatus, error.reason], [code, httpStatus, reason]);
    assert.equal(refusal("do it", httpStatus, "no JSON").details.includes(`HTTP ${httpStatus}`), true);
  });
}

test("paths name group, namespace, object and subresource", () => {
  assert.equal(pathOf(nodes), "/api/v1/nodes");
  assert.equal(pathOf(nodes, { namespace: "ignored", name: "a" }), "/api/v1/nodes/a");
  assert.equal(
    pathOf(networkServiceEndpoints, { namespace: "n", name: "e/x", subresource: "status" }),
    "/apis/networkservicemesh.io/v1/namespaces/n/networkserviceendpoints/e%2Fx/status",
  );
});

test("the events of a watch are whole whatever the pieces they come in", async () => {
  const lines = [
    { type: "ADDED", object: { metadata: { name: "ä€😀" } } },
    { type: "BOOKMARK", object: { metadata: { resourceVersion: "7" } } },
  ];
  const bytes = Buffer.from(`${lines.map((line) => JSON.stringify(line)).join("\n")}\n\n{"type":"ADDED","obj`);
  for (let size = 1; size < bytes.length; size += 3) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
    assert.deepEqual(await all(pieces), lines);
  }
});

for (const nonsense of ["<html>", '{"type":"WHAT","object":{"metadata":{}}}', '{"type":"ADDED","object":null}', "null", "[]"]) {
  test(`what is no event ends the watch: ${nonsense}`, async () => {
    await assert.rejects(all([Buffer.from(`${nonsense}\n`)]), { code: Code.UNAVAILABLE });
  });
}

test("a line without end is no reason to take all memory", async () => {
  const megabyte = Buffer.alloc(1024 * 1024, "x");
  await assert.rejects(all(Array.from({ length: 5 }, () => megabyte)), { code: Code.UNAVAILABLE, message: /4194304 bytes/ });
});

test("a kubeconfig with a token or a certificate is read by hand, with files beside it", async (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "token"), "secret\n");
  writeFileSync(join(dir, "config"), kubeconfig("tokenFile: token", "certificate-authority-data: Q0E="));
  const connection = await findApiConnection({ env: {}, kubeconfig: join(dir, "config") });
  assert.equal(connection.server.href, "https://10.0.0.1:6443/");
  assert.equal(connection.namespace, "mine");
  const options = await connection.options();
  assert.deepEqual(options.headers, { authorization: "Bearer secret" });
  assert.equal(String(options.ca), "CA");
  writeFileSync(join(dir, "token"), "rotated");
  assert.deepEqual((await connection.options()).headers, { authorization: "Bearer rotated" });
});

test("a kubeconfig with a plugin gets its token from it", async (t) => {
  const dir = temporaryDir(t);
  const answer = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"made"}}';
  const user = `exec: {apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['${answer}'], interactiveMode: Never}`;
  writeFileSync(join(dir, "config"), kubeconfig(user, "insecure-skip-tls-verify: true"));
  const connection = await findApiConnection({ env: { KUBECONFIG: join(dir, "config") } });
  const { headers } = await connection.options();
  assert.equal((headers as Record<string, string>)["Authorization"], "Bearer made");
});

const unusable: [why: string, text: string, context: string | undefined, message: RegExp][] = [
  ["no YAML", "a: [", undefined, /cannot be used/],
  ["an unknown context", kubeconfig("token: x", ""), "nowhere", /no context "nowhere" \(it has: c\)/],
  [
    "no cluster",
    kubeconfig("token: x", "").replace("cluster: k", "cluster: other"),
    undefined,
    /cluster "other", which has no server/,
  ],
];
for (const [why, text, context, message] of unusable) {
  test(`a kubeconfig with ${why} is refused with its name and the remedy`, async (t) => {
    const path = join(temporaryDir(t), "config");
    writeFileSync(path, text);
    await assert.rejects(findApiConnection({ env: {}, kubeconfig: path, context }), { code: Code.FAILED_PRECONDITION, message });
  });
}

test("without any way to a cluster the answer says what was looked for", async (t) => {
  await assert.rejects(findApiConnection({ env: { HOME: temporaryDir(t) } }), {
    code: Code.FAILED_PRECONDITION,
    message: /no pod with a service account.*KUBECONFIG/,
  });
});

test("a pod asks as its service account, and reads a token that the kubelet has replaced", async (t) => {
  const dir = temporaryDir(t);
  for (const [name, text] of Object.entries({ token: "one\n", "ca.crt": "CA", namespace: "nsm-system" })) {
    writeFileSync(join(dir, name), text);
  }
  const connection = podConnection({ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" }, dir);
  assert.equal(connection?.server.host, "[fd00::1]");
  assert.equal(connection?.namespace, "nsm-system");
  assert.deepEqual((await connection?.options())?.headers, { authorization: "Bearer one" });
  writeFileSync(join(dir, "token"), "two");
  assert.deepEqual((await connection?.options())?.headers, { authorization: "Bearer two" });
  rmSync(join(dir, "token"));
  await assert.rejects(async () => connection?.options(), {
    code: Code.FAILED_PRECONDITION,
    message: /automountServiceAccountToken/,
  });
  assert.equal(podConnection({}), undefined);
});

async function all(pieces: readonly Buffer[]): Promise<unknown[]> {
  const found: unknown[] = [];
  async function* stream(): AsyncGenerator<Buffer> {
    yield* pieces;
  }
  for await (const event of watchEvents(stream())) found.push(event);
  return found;
}

function kubeconfig(user: string, cluster: string): string {
  return `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: "https://10.0.0.1:6443"${cluster === "" ? "" : `, ${cluster}`}}}]
contexts: [{name: c, context: {cluster: k, user: u, namespace: mine}}]
users: [{name: u, user: {${user}}}]
`;
}

function temporaryDir(t: { after(end: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), "wt-kube-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}
