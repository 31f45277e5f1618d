/** The peer of the control-plane benches: registry, node manager, forwarder and endpoint made of the Go SDK's own chains. */
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freePort, keep, type Process, type Servers } from "./control-plane-processes.js";

/** Its element-by-element tracing and its log cost more than its work. */
export const withoutTraces = { INTEROP_TRACING: "off", INTEROP_LOG_LEVEL: "fatal" };
const module = fileURLToPath(new URL("../test/interop/go", import.meta.url));
const buildTimeoutMs = 300_000;
const startTimeoutMs = 30_000;
const tokenLifeMs = 600_000;

export const goPeerName = "Go SDK v1.18.0";

/** Builds the Go parts into the folder. @returns the program, or why there is none */
export async function buildGoPeer(folder: string): Promise<{ readonly program: string } | { readonly why: string }> {
  const program = join(folder, "go-peer");
  try {
    await promisify(execFile)("go", ["build", "-o", program, "."], { cwd: module, timeout: buildTimeoutMs });
    return { program };
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    if (code === "ENOENT") return { why: "Go is not installed (go 1.24 or newer in PATH)" };
    return { why: `the Go peer does not build: ${stderr?.trim().split("\n").at(-1) ?? String(error)}` };
  }
}

/**
 * Nodes of Go parts, the endpoint on the last one. All on loopback TCP: on unix sockets its parts wait for descriptors that this generator does not send.
 * @param options.identitySocket  Workload API; absent = plain text and no policies
 */
export async function startGoMesh(
  program: string,
  started: Process[],
  options: { readonly identitySocket?: string | undefined; readonly nodes?: 1 | 2 } = {},
): Promise<Servers> {
  const { identitySocket, nodes = 1 } = options;
  const address = async (): Promise<string> => `tcp://127.0.0.1:${await freePort()}`;
  const registry = await address();
  const part = async (kind: string, flags: readonly string[], suffix = ""): Promise<Process> => {
    const name = kind + suffix;
    const security = identitySocket === undefined ? [] : ["--mtls", "--policies"];
    const child = spawn(program, [kind, `--name=go-${name}`, "--dial-timeout=5s", ...flags, ...security], {
      env: { ...process.env, NSM_NAME: `go-${name}`, SPIFFE_ENDPOINT_SOCKET: identitySocket, ...withoutTraces },
      // it ends when its standard input does
      stdio: ["pipe", "pipe", "ignore"],
    });
    const kept = keep(name, child, started);
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`Go ${name} is not ready within ${startTimeoutMs} ms`)), startTimeoutMs);
      lines.on("line", (line) => {
        const { event } = JSON.parse(line) as { event?: string };
        if (event === "ready") resolve();
      });
      child.once("exit", (code) => reject(new Error(`Go ${name} ended with ${code}`)));
      kept.exited.finally(() => clearTimeout(late));
      lines.once("line", () => clearTimeout(late));
    });
    return kept;
  };
  const servers = [await part("registry", [`--listen=${registry}`])];
  const managers: string[] = [];
  for (const suffix of nodes === 2 ? ["", "-2"] : [""]) {
    const [nsmgr, forwarder] = [await address(), await address()];
    servers.push(await part("nsmgr", [`--listen=${nsmgr}`, `--url=${nsmgr}`, `--connect-to=${registry}`], suffix));
    servers.push(await part("forwarder", [`--listen=${forwarder}`, `--connect-to=${nsmgr}`], suffix));
    managers.push(nsmgr);
  }
  const [last = ""] = managers.slice(-1);
  const endpoint = [`--listen=${await address()}`, `--connect-to=${last}`, "--service=bench", "--cidr=10.0.0.0/8"];
  servers.push(await part("endpoint", endpoint));
  return { url: managers[0] ?? "", servers };
}

/** What a Go server demands of a call without an identity. What is registered lives no longer than the token. */
export const plainTokenHeaders = (lifeMs = tokenLifeMs): Readonly<Record<string, string>> => ({
  "nsm-client-token": "bench",
  "nsm-client-token-expires": new Date(Date.now() + lifeMs).toISOString(),
});
