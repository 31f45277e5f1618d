/** The chart: rendered with every kind of values, refused with wrong ones, and taken by a real API server. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { chart, findHelm, helm, noHelm, template } from "./helm.js";
import { noApiServer, startApiServer } from "./rig/api-server.js";

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly annotations?: Record<string, string> };
  readonly rules?: readonly {
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
    readonly resourceNames?: readonly string[];
  }[];
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}
interface PodSpec {
  readonly hostNetwork?: boolean;
  readonly containers: readonly { readonly name: string; readonly securityContext: Record<string, unknown> }[];
}

const deploy = join(chart, "../..");

const good = [
  "",
  "identity.kind=spire,identity.spire.clusterSpiffeId=true",
  "identity.kind=insecure",
  "identity.kind=files,identity.files.secret=weft-identity,webhook.mode=node",
  "registry.store=etcd,registry.etcd.endpoints={https://etcd:2379},registry.etcd.secret=etcd",
  "registry.store=memory,registry.replicas=1",
  "forwarder.dataplane=none",
  "forwarder.dataplane=auto",
  "forwarder.dataplane=vpp,forwarder.vpp.runFolder=/run/vpp",
  "forwarder.dataplane=vpp,forwarder.image=forwarder-vpp,forwarder.hugepages.hugepages-2Mi=1Gi",
  "forwarder.dataplane=fast,forwarder.image=forwarder-dpdk,forwarder.env.WEFT_DPDK_DEVICE=net_null0,forwarder.hugepages.hugepages-2Mi=512Mi",
  "metrics.enabled=true,metrics.serviceMonitor.enabled=true",
  "webhook.sidecars=classic,webhook.csi=true,webhook.failurePolicy=Ignore,webhook.excludedNamespaces={a,b}",
  "webhook.enabled=false,agent.enabled=false,crds.install=false",
];
/** Kinds of operators that a plain API server has not got. */
const foreign = ["ServiceMonitor", "ClusterSPIFFEID"];

test("the chart is clean, and renders with every kind of values", { skip: noHelm() }, async () => {
  assert.match(await helm(["lint", "--strict", chart]), /0 chart\(s\) failed/);
  for (const values of good) {
    const found = await manifests(values);
    assert.ok(found.length > 10, values);
    const names = found.map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? ""}/${metadata.name}`);
    assert.equal(new Set(names).size, names.length, `${values}: no object twice`);
  }
});

const bad: readonly [string, RegExp][] = [
  ["webhok.mode=node", /additional properties 'webhok'/],
  ["webhook.mode=magic", /webhook\/mode/],
  ["nsmgr.port=0", /nsmgr\/port/],
  ["identity.kind=files", /identity\/files\/secret|webhook\/mode/],
  ["identity.trustDomain=Not A Domain", /trustDomain/],
  ["registry.store=etcd", /etcd\/endpoints/],
  ["registry.store=memory", /registry\/replicas/],
  ["forwarder.hugepages.two=1Gi", /'two' does not match/],
  ["forwarder.dataplane=vpp", /forwarder\/vpp\/runFolder/],
  ["forwarder.dataplane=ovs", /forwarder\/dataplane/],
  ["identity.ca.certificateLifetime=soon", /certificateLifetime/],
];
for (const [values, says] of bad) {
  test(`wrong values are refused: ${values}`, { skip: noHelm() }, async () => {
    await assert.rejects(template(values), says);
  });
}

test("least privileges: what the parts of the pod network may do, and that no part may read every Secret", {
  skip: noHelm(),
}, async () => {
  const found = await manifests("");
  for (const { kind, metadata, spec } of found) {
    const pod = spec?.template?.spec;
    if (pod === undefined || !["Deployment", "Job"].includes(kind) || pod.hostNetwork === true) continue;
    for (const { securityContext } of pod.containers) {
      assert.equal(securityContext["runAsNonRoot"], true, metadata.name);
      assert.equal(securityContext["readOnlyRootFilesystem"], true, metadata.name);
      assert.deepEqual(securityContext["capabilities"], { drop: ["ALL"] }, metadata.name);
    }
  }
  for (const { kind, metadata, rules = [] } of found) {
    for (const { resources, verbs, resourceNames } of rules) {
      assert.ok(!verbs.includes("*") && !resources.includes("*"), `${kind} ${metadata.name} has no wildcard`);
      if (!resources.includes("secrets") || verbs.every((verb) => verb === "create")) continue;
      assert.ok(resourceNames !== undefined, `${kind} ${metadata.name} reads named Secrets only`);
    }
  }
});

test("the comments in values.yaml and the schema speak of the same values", () => {
  const schema = JSON.parse(readFileSync(join(chart, "values.schema.json"), "utf8")) as { properties: object };
  const [document] = parseAllDocuments(readFileSync(join(chart, "values.yaml"), "utf8"));
  const values = Object.keys((document?.toJS() ?? {}) as object);
  assert.deepEqual(
    values.sort(),
    Object.keys(schema.properties)
      .filter((name) => name !== "global")
      .sort(),
  );
});

test("a real API server takes every manifest", { skip: noHelm() || noApiServer() }, async (t) => {
  const server = await startApiServer();
  t.after(() => server.stop());
  for (const name of ["weft-system", "weft-test"]) await server.kubectl(["create", "namespace", name]);
  for (const values of good) {
    const known = (await manifests(values)).filter(({ kind }) => !foreign.includes(kind));
    const items = known.map((item) => ({ ...item, metadata: { namespace: "weft-system", ...item.metadata } }));
    const list = { apiVersion: "v1", kind: "List", items };
    const said = await server.kubectl(["apply", "--dry-run=server", "-f", "-"], JSON.stringify(list));
    assert.equal(said.trim().split("\n").length, known.length, values);
  }
});

test("row 9.6: Kustomize base and overlay are up to date, and a real API server takes them", {
  skip: noHelm() || noApiServer(),
}, async (t) => {
  const PATH = `${dirname(findHelm() ?? "")}:${process.env["PATH"] ?? ""}`;
  execFileSync("bash", [join(deploy, "kustomize/render.sh"), "--check"], { env: { ...process.env, PATH } });
  const server = await startApiServer();
  t.after(() => server.stop());
  await server.kubectl(["create", "namespace", "weft-system"]);
  for (const folder of ["base", "mode-node"]) {
    const built = await server.kubectl(["kustomize", join(deploy, "kustomize", folder)]);
    const said = await server.kubectl(["apply", "--dry-run=server", "-f", "-"], built);
    assert.equal(said.trim().split("\n").length, parseAllDocuments(built).length, folder);
    assert.match(built, folder === "base" ? /name: WEFT_MODE\s+value: sidecar/ : /name: WEFT_MODE\s+value: node/);
  }
});

test("the Argo CD Application and the Terraform example can be read, and speak of the chart", () => {
  const [application] = parseAllDocuments(readFileSync(join(deploy, "argocd/application.yaml"), "utf8"));
  assert.ok(application !== undefined && application.errors.length === 0);
  const { source } = (application.toJS() as { spec: { source: { path: string } } }).spec;
  assert.ok(existsSync(join(deploy, "..", source.path, "Chart.yaml")));
  assert.match(readFileSync(join(deploy, "terraform/main.tf"), "utf8"), /path\.module\}\/\.\.\/helm\/weft/);
});

const hclfmt = join(dirname(findHelm() ?? ""), "hclfmt");
test("the Terraform example is HCL", {
  skip:
    !existsSync(hclfmt) && "hclfmt is missing: GOBIN=~/.cache/weft/bin go install github.com/hashicorp/hcl/v2/cmd/hclfmt@v2.24.0",
}, () => {
  execFileSync(hclfmt, ["-check", join(deploy, "terraform/main.tf")]);
  assert.throws(() => execFileSync(hclfmt, ["-check"], { input: 'resource "x" {', stdio: ["pipe", "ignore", "ignore"] }));
});

async function manifests(values: string): Promise<Manifest[]> {
  const text = values === "" ? await template() : await template(values);
  return parseAllDocuments(text).flatMap((document) => {
    assert.deepEqual(document.errors, [], values);
    const manifest = document.toJS() as Manifest | null;
    return manifest === null ? [] : [manifest];
  });
}
