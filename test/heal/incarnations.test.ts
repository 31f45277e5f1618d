/** Two incarnations under one name: a frozen process that comes back finds that its place has been taken, and takes nothing. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { until } from "../../sdk/testing/until.js";
import { connectionsAt } from "./listen.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";

const service = "icmp-responder";
/** A process reads and compiles sources first, on a machine that may be busy. */
const startMs = 40_000;
const url = `kernel://${service}/nsm-1`;

test("rows 3.7, 7.3: an endpoint that was frozen and replaced under its name ends when it comes back; no address twice", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  const old = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const first = await mesh.client(0, { url });
  old.signal("SIGSTOP");
  const young = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24", {}, "nse-1-again");
  assert.equal(await registeredUrl(mesh), young.url);
  const second = await mesh.client(0, { url });
  old.signal("SIGCONT");
  await until("the old one has ended by itself", () => old.ended());
  assert.match(old.log(), /replaced by a newer incarnation/);
  assert.equal(await registeredUrl(mesh), young.url);
  const third = await mesh.client(0, { url });
  const addresses = [second, third].map(({ context }) => context.ip_context?.src_ip_addrs[0]);
  assert.equal(new Set(addresses).size, 2);
  assert.equal(first.connection.network_service_endpoint_name, "nse-1");
});

test("row 7.6: a client that was frozen and replaced under its id gives up when it comes back, and closes nothing", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const old = clientProcess(t, mesh);
  await until("the first one is connected", () => old.told.includes("connected"), startMs);
  old.child.kill("SIGSTOP");
  const young = clientProcess(t, mesh);
  await until("the second one has taken it over", () => young.told.includes("connected"), startMs);
  old.child.kill("SIGCONT");
  await until("the first one gives up", () => old.told.includes("gave-up") && old.told.includes("ended"), startMs);
  await until("several refreshes of the second one", async () => (await held(mesh)) === 1);
  old.child.kill("SIGTERM");
  assert.equal(await held(mesh), 1);
  assert.ok(!young.told.includes("gave-up"));
  young.child.kill("SIGTERM");
  await until("it is given back", async () => (await held(mesh)) === 0);
});

async function registeredUrl(mesh: ProcessMesh): Promise<string | undefined> {
  const query = NetworkServiceEndpoint.fromPartial({ name: "nse-1" });
  const registry = mesh.dialer.endpointRegistry(mesh.nodes[0]?.url ?? "");
  for await (const { entry } of registry.find(query, { watch: false, signal: AbortSignal.timeout(5_000) })) return entry.url;
  return undefined;
}

async function held(mesh: ProcessMesh): Promise<number> {
  return await connectionsAt(mesh, mesh.nodes[0]?.url ?? "");
}

function clientProcess(t: TestContext, mesh: ProcessMesh): { readonly child: ChildProcess; readonly told: string[] } {
  const program = fileURLToPath(new URL("client-process.ts", import.meta.url));
  const args = ["--import", "tsx", program, url, "client", "client-1", mesh.nodes[0]?.url ?? ""];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  });
  const told: string[] = [];
  let rest = "";
  child.stdout?.on("data", (chunk) => {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) told.push((JSON.parse(line) as { kind: string }).kind);
  });
  return { child, told };
}
