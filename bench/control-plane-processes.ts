/** The processes that the control-plane benches measure. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Identity } from "../sdk/identity/identity.js";
import { createDialer } from "../sdk/transport/dial.js";

export interface Process {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<unknown>;
  stop(): Promise<void>;
}

export interface Servers {
  /** Where requests go. */
  readonly url: string;
  readonly servers: readonly Process[];
}

const weft = fileURLToPath(new URL("../scripts/weft.mjs", import.meta.url));
const bundler = fileURLToPath(new URL("../deploy/images/bundle.mjs", import.meta.url));
const bareHop = fileURLToPath(new URL("bare-hop.ts", import.meta.url));
const startTimeoutMs = 30_000;

export interface MeshOptions {
  /** The Workload API of its parts, and who waits for them; absent = --insecure. */
  readonly secure?: { readonly socket: string; readonly identity: Identity } | undefined;
  /** Manager and forwarder in one process (`weft node`). */
  readonly joined?: boolean | undefined;
  /** The endpoint is on a second node. */
  readonly twoNodes?: boolean | undefined;
  /** Flags of Node for each process. */
  readonly flags?: readonly string[] | undefined;
  /**
   * Where to put the bundles of the images, which run instead of the command `weft`. The path is short, as in the images: Node
   * compiles its own resolution of modules when it has much to do, and that alone takes 3 MiB.
   */
  readonly shipped?: string | undefined;
}

/** Registry, nodes without a data plane and one endpoint of the service "bench". */
export async function startMesh(folder: string, started: Process[], options: MeshOptions = {}): Promise<Servers> {
  await mkdir(folder, { recursive: true });
  const { secure, flags = [] } = options;
  const registry = `tcp://127.0.0.1:${await freePort()}`;
  // one identity makes all the load: it is not to be held back
  const trust =
    secure === undefined ? { WEFT_INSECURE: "true" } : { SPIFFE_ENDPOINT_SOCKET: secure.socket, WEFT_TENANT_RATE: "0" };
  const common = { NSM_LOG_LEVEL: "WARN", ...trust };
  const programs = options.shipped === undefined ? undefined : await bundles(options.shipped);
  const component = (kind: string, name: string, env: Record<string, string>): Process => {
    const program = programs?.get(kind);
    const child = spawn(process.execPath, [...flags, ...(program === undefined ? [weft, kind] : [program])], {
      env: { ...process.env, ...common, NSM_NAME: name, WEFT_STATE_DIR: `${folder}/${name}`, ...env },
      stdio: ["ignore", "ignore", "inherit"],
    });
    return keep(name.endsWith("-2") ? `${kind}-2` : kind, child, started);
  };
  // as shipped = with the store that it has when nobody chooses one
  const store: Record<string, string> = options.shipped === undefined ? { WEFT_STORE: "memory" } : {};
  const servers = [component("registry", "bench-registry", { NSM_LISTEN_ON: registry, ...store })];
  const names = options.twoNodes ? ["", "-2"] : [""];
  const sockets: string[] = [];
  for (const suffix of names) {
    const node = await startNode({ folder, suffix, registry, joined: options.joined ?? false, component });
    sockets.push(node.socket);
    servers.push(...node.servers);
  }
  servers.push(
    component("endpoint", "bench-endpoint", {
      NSM_CONNECT_TO: sockets.at(-1) ?? "",
      NSM_SERVICE_NAMES: "bench",
      NSM_CIDR_PREFIX: "10.0.0.0/8",
      NSM_BASE_DIR: folder,
    }),
  );
  const awaited = [...names.map((suffix) => `bench-forwarder${suffix}`), "bench-endpoint"];
  await waitForEndpoints(registry, awaited, secure?.identity);
  return { url: sockets[0] ?? "", servers };
}

/** What the images contain, by component. */
async function bundles(folder: string): Promise<ReadonlyMap<string, string>> {
  const programs = new Map<string, string>();
  for (const name of ["registry", "nsmgr", "forwarder", "endpoint"]) {
    const place = `${folder}/${name.charAt(0)}`;
    await promisify(execFile)(process.execPath, [bundler, name, place], { timeout: 120_000 });
    programs.set(name, `${place}/main.mjs`);
  }
  return programs;
}

async function startNode(options: {
  readonly folder: string;
  readonly suffix: string;
  readonly registry: string;
  readonly joined: boolean;
  readonly component: (kind: string, name: string, env: Record<string, string>) => Process;
}): Promise<{ readonly socket: string; readonly servers: readonly Process[] }> {
  const { folder, suffix, registry, joined, component } = options;
  const socket = `unix://${folder}/nsmgr${suffix}.sock`;
  const forwarder = `unix://${folder}/forwarder${suffix}.sock`;
  const listenOn = `${socket},tcp://127.0.0.1:${await freePort()}`;
  const manager = { NSM_LISTEN_ON: listenOn, NSM_REGISTRY_URL: registry };
  const plane = { WEFT_DATAPLANE: "none", NSM_TUNNEL_IP: "127.0.0.1" };
  if (joined) {
    const names = { WEFT_FORWARDER_NAME: `bench-forwarder${suffix}`, WEFT_FORWARDER_LISTEN_ON: forwarder };
    return { socket, servers: [component("node", `bench-nsmgr${suffix}`, { ...manager, ...plane, ...names })] };
  }
  return {
    socket,
    servers: [
      component("nsmgr", `bench-nsmgr${suffix}`, manager),
      component("forwarder", `bench-forwarder${suffix}`, { NSM_CONNECT_TO: socket, NSM_LISTEN_ON: forwarder, ...plane }),
    ],
  };
}

/** Three bare grpc-js processes in a row. */
export async function startBareHops(folder: string, started: Process[]): Promise<Servers> {
  const path = (index: number): string => `${folder}/hop-${index}.sock`;
  const servers: Process[] = [];
  for (const index of [2, 1, 0]) {
    const args = ["--import", "tsx", bareHop, path(index), ...(index === 2 ? [] : [path(index + 1)])];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    servers.push(keep(`hop ${index}`, child, started));
    await once(child.stdout, "data", { signal: AbortSignal.timeout(startTimeoutMs) });
  }
  return { url: `unix://${path(0)}`, servers };
}

/** Something to stop at the end, in `started`. */
export function keep(name: string, child: ChildProcess, started: Process[]): Process {
  if (child.pid === undefined) throw new Error(`${name} did not start`);
  const exited = once(child, "exit");
  const kept: Process = {
    name,
    pid: child.pid,
    exited,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await exited;
    },
  };
  started.push(kept);
  return kept;
}

/** Waits on a watch of the registry, dialling it anew until it is up. */
async function waitForEndpoints(registryUrl: string, names: readonly string[], identity?: Identity): Promise<void> {
  const dialer = createDialer({ dialTimeoutMs: 500, identity });
  const signal = AbortSignal.timeout(startTimeoutMs);
  const missing = new Set(names);
  try {
    while (missing.size > 0) {
      try {
        const found = dialer.endpointRegistry(registryUrl).find(NetworkServiceEndpoint.fromPartial({}), { watch: true, signal });
        for await (const { entry } of found) {
          missing.delete(entry.name);
          if (missing.size === 0) break;
        }
      } catch (error) {
        if (signal.aborted)
          throw new Error(`not registered within ${startTimeoutMs} ms: ${[...missing].join(", ")}`, { cause: error });
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  } finally {
    dialer.close();
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
