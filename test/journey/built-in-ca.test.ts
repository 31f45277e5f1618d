import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../../sdk/testing/test-server.js";
import { until } from "../../sdk/testing/until.js";

const weft = fileURLToPath(new URL("../../scripts/weft.mjs", import.meta.url));
const startTimeoutMs = 40_000;

interface Process {
  readonly child: ChildProcess;
  /** Lines of its log. */
  readonly lines: string[];
}

function start(t: TestContext, args: readonly string[], env: Readonly<Record<string, string>>): Process {
  const child = spawn(process.execPath, [weft, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines: string[] = [];
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on("line", (line) => lines.push(line));
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill();
    await gone;
  });
  return { child, lines };
}

/** Runs a command to its end. */
async function run(args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, [weft, ...args], { env: { PATH: process.env["PATH"] ?? "", ...env } });
  const written = { out: "", err: "" };
  child.stdout.on("data", (chunk) => (written.out += String(chunk)));
  child.stderr.on("data", (chunk) => (written.err += String(chunk)));
  const [code] = (await once(child, "close")) as [number];
  return { code, ...written };
}

async function says(process: Process, text: string): Promise<void> {
  await until(
    `"${text}"`,
    () => {
      if (process.child.exitCode !== null) throw new Error(`it ended:\n${process.lines.join("\n")}`);
      return process.lines.some((line) => line.includes(text));
    },
    startTimeoutMs,
  ).catch((error: Error) => {
    throw new Error(`${error.message}; it said:\n${process.lines.slice(-20).join("\n")}`);
  });
}

test("rows 8.1, 7.9: a mesh of processes with the built-in authority: it connects, certificates are renewed, the CA may go", async (t) => {
  const folder = temporaryFolder(t);
  const domain = { WEFT_TRUST_DOMAIN: "mesh.test", WEFT_STATE_DIR: join(folder, "ca") };
  const token = await run(["ca", "token", "--spiffe-id", "spiffe://mesh.test/mesh/*", "--join-token-reusable"], domain);
  assert.equal(token.code, 0, token.err);
  const caUrl = `unix://${folder}/ca.sock`;
  const ca = start(t, ["ca"], { ...domain, NSM_LISTEN_ON: caUrl, WEFT_SVID_LIFETIME: "40s" });
  const as = (name: string) => ({
    WEFT_CA_URL: caUrl,
    WEFT_JOIN_TOKEN: token.out.trim(),
    WEFT_SPIFFE_ID: `spiffe://mesh.test/mesh/${name}`,
    WEFT_STATE_DIR: join(folder, name),
    WEFT_DRAIN_TIMEOUT: "200ms",
    NSM_NAME: name,
  });
  const registryUrl = `unix://${folder}/registry.sock`;
  const nsmgrUrl = `unix://${folder}/nsm.sock`;
  const registry = start(t, ["registry"], { ...as("registry"), NSM_LISTEN_ON: registryUrl, WEFT_STORE: "memory" });
  start(t, ["nsmgr"], { ...as("nsmgr"), NSM_LISTEN_ON: `${nsmgrUrl},tcp://127.0.0.1:0`, NSM_REGISTRY_URL: registryUrl });
  const forwarder = start(t, ["forwarder"], {
    ...as("forwarder"),
    NSM_LISTEN_ON: `unix://${folder}/fwd.sock`,
    NSM_CONNECT_TO: nsmgrUrl,
    NSM_TUNNEL_IP: "127.0.0.1",
    WEFT_DATAPLANE: "none",
  });
  const workload = { NSM_CONNECT_TO: nsmgrUrl, NSM_LIVENESS_CHECK_ENABLED: "false" };
  const endpoint = start(t, ["endpoint"], {
    ...as("nse"),
    ...workload,
    NSM_SERVICE_NAMES: "s",
    NSM_CIDR_PREFIX: "10.9.0.0/24",
    NSM_LISTEN_ON: `unix://${folder}/nse.sock`,
  });
  await Promise.all([says(forwarder, '"registered"'), says(endpoint, "endpoint is ready")]);
  const client = start(t, ["client"], { ...as("nsc"), ...workload, NSM_NETWORK_SERVICES: "kernel://s" });
  await says(client, "all services are connected");
  await Promise.all([registry, endpoint, client].map((process) => says(process, "identity renewed")));

  const asked = await run(["get", "endpoints", "--registry", registryUrl], as("operator"));
  assert.equal(asked.code, 0, asked.err);
  assert.match(asked.out, /nse/);
  const stranger = await run(["get", "endpoints", "--registry", registryUrl], {});
  assert.notEqual(stranger.code, 0);
  const refusals = [registry, endpoint, client].flatMap(({ lines }) => lines.filter((line) => line.includes('"audit"')));
  assert.deepEqual(refusals, []);

  ca.child.kill("SIGKILL");
  const later = start(t, ["client"], { ...as("nsc-2"), ...workload, NSM_NETWORK_SERVICES: "kernel://s" });
  await says(later, "gives no certificate yet");
  start(t, ["ca"], { ...domain, NSM_LISTEN_ON: caUrl, WEFT_SVID_LIFETIME: "40s" });
  await says(later, "all services are connected");
});
