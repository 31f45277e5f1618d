/** One node's mesh of processes, each from Go or from Weft: client, manager, forwarder, endpoint, registry. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EventProcess, startEventProcess } from "./event-process.js";
import { type Identities, serveIdentities } from "./identities.js";
import { goCommand, goEnv, weftCommand, weftEnv } from "./programs.js";
import type { Kind, Part, Setup } from "./setups.js";

/** How the parts of a node reach each other. The manager and the registry always speak over TCP. */
export type Transport = "tcp" | "unix";
export type Security = "plain" | "mtls";

export interface Variant {
  readonly transport: Transport;
  readonly security: Security;
}

export interface Urls {
  readonly registry: string;
  /** Where workloads and the forwarder reach the manager. */
  readonly nsmgr: string;
  /** Where other nodes would. */
  readonly nsmgrPublic: string;
  readonly forwarder: string;
  readonly endpoint: string;
}

/** What a program is started with. */
export interface PartOptions {
  readonly part: Part;
  /** In the path and in the registry. */
  readonly name: string;
  readonly urls: Urls;
  readonly service: string;
  readonly security: Security;
  /** What a Weft client asks for; a Go client asks for KERNEL. */
  readonly mechanism: string;
  /** Of a client: id of its connection. */
  readonly id: string;
  readonly stateDir: string;
  /** Of a forwarder, where there is more than one node. */
  readonly tunnelIp?: string | undefined;
  /** The Workload API's socket, with mTLS. */
  readonly identitySocket: string | undefined;
}

export interface Mesh {
  readonly variant: Variant;
  readonly setup: Setup;
  /** What the client asks for. */
  readonly mechanism: string;
  /** Starts a part, again after `kill`; a client has no readiness, its connection is it. */
  start(part: Exclude<Part, "client">): Promise<void>;
  /** SIGKILL. */
  kill(part: Part): Promise<void>;
  process(part: Part): EventProcess;
  /** Ends a part as an operator would (SIGTERM), and starts it anew with the code of that kind. */
  swap(part: Exclude<Part, "client">, kind: Kind): Promise<void>;
  /** One more client; `name` is also its connection's id with -0. */
  client(name: string, kind?: Kind): EventProcess;
  stop(): Promise<void>;
}

export async function createMesh(setup: Setup, variant: Variant): Promise<Mesh> {
  const folder = mkdtempSync(join(tmpdir(), "wt-interop-"));
  const urls = await urlsOf(variant.transport, folder);
  const identities: Identities | undefined = variant.security === "mtls" ? await serveIdentities(folder) : undefined;
  const running = new Map<string, EventProcess>();
  const mechanism = mechanismOf(setup.kinds, variant);

  function spawn(part: Part, name: string, kind = setup.kinds[part]): EventProcess {
    const options: PartOptions = {
      part,
      name,
      urls,
      service: "interop",
      mechanism: part === "client" ? mechanismOf({ ...setup.kinds, client: kind }, variant) : mechanism,
      security: variant.security,
      id: `${name}-0`,
      stateDir: join(folder, name),
      identitySocket: identities?.socket,
    };
    const started = launch(kind, options);
    running.set(name, started);
    return started;
  }

  return {
    variant,
    setup,
    mechanism,
    async start(part) {
      await spawn(part, part).next(`${part} is ready`, ({ event }) => event === "ready");
    },
    kill: (part) => processOf(running, part).kill(),
    process: (part) => processOf(running, part),
    async swap(part, kind) {
      await processOf(running, part).stop();
      await spawn(part, part, kind).next(`${part} is ready`, ({ event }) => event === "ready");
    },
    client: (name, kind) => spawn("client", name, kind),
    async stop() {
      for (const child of [...running.values()].reverse()) await child.kill();
      await identities?.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * A client of Weft names its namespace by inode. A Go manager awaits the descriptor of an inode, also over TCP where none
 * can come; so there the client asks for a mechanism without a namespace.
 */
function mechanismOf(kinds: Setup["kinds"], { transport }: Variant): string {
  return kinds.client === "weft" && kinds.nsmgr === "go" && transport === "tcp" ? "NOOP" : "KERNEL";
}

function processOf(running: ReadonlyMap<string, EventProcess>, name: string): EventProcess {
  const found = running.get(name);
  if (found === undefined) throw new Error(`${name} was not started`);
  return found;
}

export function launch(kind: Kind, options: PartOptions): EventProcess {
  const who = `${kind} ${options.name}`;
  return kind === "go"
    ? startEventProcess(who, goCommand(options), goEnv(options))
    : startEventProcess(who, weftCommand(options), weftEnv(options));
}

async function urlsOf(transport: Transport, folder: string): Promise<Urls> {
  const [registry = 0, manager = 0, forwarder = 0, endpoint = 0] = await freePorts(4);
  const tcp = (port: number): string => `tcp://127.0.0.1:${port}`;
  const local = (name: string, port: number): string => (transport === "tcp" ? tcp(port) : `unix://${folder}/${name}.sock`);
  return {
    registry: tcp(registry),
    nsmgr: local("nsmgr", manager),
    nsmgrPublic: tcp(manager),
    forwarder: local("forwarder", forwarder),
    endpoint: local("endpoint", endpoint),
  };
}

/** Ports nobody listens on at the moment; a part that is restarted listens on the same again. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  return Promise.all(
    servers.map(async (server) => {
      const address = server.address();
      await new Promise((resolve) => server.close(resolve));
      return typeof address === "object" && address !== null ? address.port : 0;
    }),
  );
}
