/** The admission webhook behind a real API server. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { type TestContext, test } from "node:test";
import { clusterDoctor } from "../../cli/cluster/doctor.js";
import { pathOf, secrets } from "../../sdk/kubernetes/resource.js";
import { until } from "../../sdk/testing/until.js";
import { makeCertificates, renewCertificate } from "../../webhook/certificates.js";
import { webhookConfigurations } from "../../webhook/keep-certificate.js";
import { run } from "../../webhook/main.js";
import { type ApiServer, noApiServer, startApiServer } from "./rig/api-server.js";

const url = "kernel://icmp-responder/nsm-1";
const configuration = "weft-webhook";

test("rows 9.1, 9.2, 9.3: the apiserver calls the webhook; pods get clients; mistakes are refused with a mark", {
  skip: noApiServer(),
}, async (t) => {
  const server = await startApiServer();
  t.after(() => server.stop());
  const webhook = await startWebhook(t, server);
  await t.test("a Pod, by its annotation", async () => {
    const made = await create(server, "default", pod("a", { "networkservicemesh.io": url }));
    assert.deepEqual(namesOf(made.spec.initContainers), ["weft-client"]);
    assert.equal(made.spec.initContainers?.[0]?.["restartPolicy"], "Always");
  });
  await t.test("a Deployment and a Job hand it down; what the apiserver stores is what the template says", async () => {
    for (const kind of ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"]) {
      await server.kubectl(["apply", "-f", "-"], JSON.stringify(workload(kind, url)));
      const stored = JSON.parse(await server.kubectl(["get", kind, kind.toLowerCase(), "-o", "json"])) as Workload;
      assert.equal(stored.spec.template.metadata.annotations?.["networkservicemesh.io"], url, kind);
      // the same again changes nothing
      assert.match(await server.kubectl(["apply", "-f", "-"], JSON.stringify(workload(kind, url))), /unchanged|configured/);
    }
    const created = await create(server, "default", { ...pod("from-template", { "networkservicemesh.io": url }) });
    assert.deepEqual(namesOf(created.spec.initContainers), ["weft-client"]);
  });
  await t.test("a namespace gives its annotation to pods, at once", async () => {
    const annotations = { "networkservicemesh.io": "kernel://of-namespace/nsm-2" };
    await server.kubectl(
      ["apply", "-f", "-"],
      JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "tenant", annotations } }),
    );
    const made = await create(server, "tenant", pod("b", undefined));
    assert.equal(made.metadata.annotations?.["networkservicemesh.io"], "kernel://of-namespace/nsm-2");
    assert.deepEqual(namesOf(made.spec.initContainers), ["weft-client"]);
  });
  await t.test("row 8.6: a namespace under Pod Security restricted takes the pod as it comes out", async () => {
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    await server.kubectl(
      ["apply", "-f", "-"],
      JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "strict", labels } }),
    );
    const made = await create(server, "strict", pod("c", { "networkservicemesh.io": url }));
    assert.equal(made.spec.initContainers, undefined);
    assert.equal(made.metadata.annotations?.["networkservicemesh.io/mode"], "node");
  });
  await t.test("a mistake is refused where it is made", async () => {
    for (const bad of [
      workload("Deployment", "kernel//x"),
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "bad", annotations: { "networkservicemesh.io": "kernel//x" } } },
    ]) {
      await assert.rejects(server.kubectl(["apply", "-f", "-"], JSON.stringify(bad)), /character 7: expected ":\/\/"/);
    }
    await assert.rejects(
      create(server, "default", pod("d", { "networkservicemesh.io/mode": "x", "networkservicemesh.io": url })),
      /neither/,
    );
  });
  await t.test("a Secret that is deleted and a configuration that is written anew come back", async () => {
    const path = pathOf(secrets, { namespace: "default", name: `${configuration}-certificates` });
    await server.api.call({ method: "DELETE", path });
    await until("the Secret is back", async () => (await server.api.call({ path }).catch(() => undefined)) !== undefined, 60_000);
    await until(
      "the configuration trusts it",
      async () =>
        (await create(server, "default", pod("e", { "networkservicemesh.io": url })).catch(() => undefined)) !== undefined,
      60_000,
    );
    await until("pods are injected again", async () => {
      const made = await create(
        server,
        "default",
        pod(`f-${performance.now()}`.replace(".", "-"), { "networkservicemesh.io": url }),
      );
      return made.spec.initContainers !== undefined;
    });
  });
  await webhook.stop();
});

test("row 9.3: a certificate in files that has expired is told with the remedy, and a new one there is used without a restart", {
  skip: noApiServer(),
}, async (t) => {
  const server = await startApiServer();
  t.after(() => server.stop());
  const certificates = await makeCertificates(["localhost"], Date.now(), 10_000);
  const files = {
    cert: join(server.dir, "webhook.crt"),
    key: join(server.dir, "webhook.key"),
    ca: join(server.dir, "webhook-ca.crt"),
  };
  const write = ({ certificatePem, keyPem, caPem }: typeof certificates): void => {
    writeFileSync(files.key, keyPem, { mode: 0o600 });
    writeFileSync(files.cert, certificatePem);
    writeFileSync(files.ca, caPem);
  };
  write(certificates);
  await startWebhook(t, server, {
    NSM_CERT_FILE_PATH: files.cert,
    NSM_KEY_FILE_PATH: files.key,
    NSM_CA_BUNDLE_FILE_PATH: files.ca,
  });
  const annotations = { "networkservicemesh.io": url };
  // the apiserver keeps connections that it has; a new one sees the end of the certificate. Until then pods are made, or
  // refused because it has just begun, and so each try is a pod of its own
  let tries = 0;
  const refusal = await found("the end of the certificate", async () => {
    await server.stopApi();
    await server.startApi();
    return await create(server, "default", pod(`late-${tries++}`, annotations)).then(
      () => undefined,
      ({ message }: Error) => (message.includes("failed calling webhook") ? message : undefined),
    );
  });
  assert.match(refusal, /failed calling webhook.*expired/s);
  const said: string[] = [];
  const context = {
    env: {},
    self: [],
    signal: AbortSignal.timeout(30_000),
    out: { write: (text: string) => said.push(text) },
    err: { write() {} },
  };
  assert.equal(await clusterDoctor({ kubeconfig: server.kubeconfig }, context), 1);
  assert.match(said.join(""), /no annotated pod can be made: .*expired.*; put a new certificate/);
  write(await renewCertificate(certificates, ["localhost"], Date.now()));
  await until(
    "the new certificate",
    async () => (await create(server, "default", pod("in-time", annotations)).catch(() => undefined)) !== undefined,
    30_000,
  );
});

async function found<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const all: T[] = [];
  const one = async (): Promise<boolean> => {
    const seen = await look();
    if (seen !== undefined) all.push(seen);
    return all.length > 0;
  };
  await until(what, one, 60_000);
  return all[0] as T;
}

interface Made {
  readonly metadata: { readonly annotations?: Record<string, string> };
  readonly spec: { readonly initContainers?: readonly (Record<string, unknown> & { readonly name: string })[] };
}
interface Workload {
  readonly spec: { readonly template: { readonly metadata: { readonly annotations?: Record<string, string> } } };
}

function pod(name: string, annotations: Record<string, string> | undefined): object {
  const securityContext = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    runAsNonRoot: true,
    runAsUser: 1000,
    seccompProfile: { type: "RuntimeDefault" },
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...(annotations === undefined ? {} : { annotations }) },
    spec: { containers: [{ name: "app", image: "app", securityContext }] },
  };
}

function workload(kind: string, annotation: string): object {
  const name = kind.toLowerCase();
  const labels = { app: name };
  const job = kind === "Job";
  const template = {
    metadata: { labels },
    spec: { containers: [{ name: "app", image: "app" }], ...(job ? { restartPolicy: "Never" } : {}) },
  };
  return {
    apiVersion: job ? "batch/v1" : "apps/v1",
    kind,
    metadata: { name, namespace: "default", annotations: { "networkservicemesh.io": annotation } },
    spec: {
      ...(job ? {} : { selector: { matchLabels: labels } }),
      ...(kind === "StatefulSet" ? { serviceName: name } : {}),
      template,
    },
  };
}

function create(server: ApiServer, namespace: string, body: object): Promise<Made> {
  return server.api.call<Made>({ method: "POST", path: `/api/v1/namespaces/${namespace}/pods`, body });
}

function namesOf(containers: readonly { readonly name: string }[] | undefined): string[] {
  return (containers ?? []).map(({ name }) => name);
}

async function startWebhook(
  t: TestContext,
  server: ApiServer,
  settings: Readonly<Record<string, string>> = {},
): Promise<{ stop(): Promise<void> }> {
  const port = await freePort();
  await server.kubectl(["create", "-f", "-"], JSON.stringify(configurationAt(`https://localhost:${port}/mutate`)));
  const stopping = new AbortController();
  const env = {
    KUBECONFIG: server.kubeconfig,
    NSM_NAME: configuration,
    NSM_LISTEN_ON: `127.0.0.1:${port}`,
    NSM_CONTAINER_IMAGES: "ghcr.io/weft/client:test",
    WEFT_CERT_NAMES: "localhost",
    NSM_LOG_LEVEL: "warn",
    ...settings,
  };
  const ended = run({ argv: [], env, signal: stopping.signal });
  const stop = async (): Promise<void> => {
    stopping.abort();
    assert.equal(await ended, 0);
  };
  t.after(stop);
  await until(
    "the configuration has its authority",
    async () => {
      const found = await server.api.call<{ webhooks: { clientConfig: { caBundle?: string } }[] }>({
        path: pathOf(webhookConfigurations, { name: configuration }),
      });
      return found.webhooks.every(({ clientConfig }) => clientConfig.caBundle !== undefined);
    },
    30_000,
  );
  // the apiserver follows its own configurations with a delay
  await until(
    "the webhook is called",
    async () => {
      const made = await create(
        server,
        "default",
        pod(`probe-${performance.now()}`.replace(".", "-"), { "networkservicemesh.io": url }),
      ).catch(() => undefined);
      return made?.spec.initContainers !== undefined;
    },
    30_000,
  );
  return { stop };
}

function configurationAt(at: string): object {
  const rule = (apiGroups: string[], resources: string[]): object => ({
    apiGroups,
    apiVersions: ["v1"],
    operations: ["CREATE", "UPDATE"],
    resources,
  });
  return {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "MutatingWebhookConfiguration",
    metadata: { name: configuration },
    webhooks: [
      {
        name: "pods.networkservicemesh.io",
        admissionReviewVersions: ["v1"],
        sideEffects: "None",
        failurePolicy: "Fail",
        clientConfig: { url: at },
        rules: [
          rule([""], ["pods", "namespaces"]),
          rule(["apps"], ["deployments", "daemonsets", "statefulsets", "replicasets"]),
          rule(["batch"], ["jobs"]),
        ],
      },
    ],
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return typeof address === "object" && address !== null ? address.port : 0;
}
