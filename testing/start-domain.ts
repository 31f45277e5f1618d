/**
 * A whole domain in one process: registry and N nodes, each with manager and forwarder, on unix sockets in a temporary
 * folder (and loopback TCP between the nodes). For tests of clients and endpoints; needs no root: nothing is built unless
 * the kernel data plane is asked for.
 *
 *     await using domain = await startDomain({ nodes: 2 });
 *     const endpoint = await domain.nodes[1].serve({ name: "nse", services: ["s"], cidrs: ["10.0.0.0/24"], signal });
 *     const connection = await domain.nodes[0].connect({ url: "kernel://s", signal });
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ClientConnection, type ConnectOptions, connect } from "../sdk/client/connect.js";
import { type ServeOptions, type Serving, serve } from "../sdk/endpoint/serve.js";
import type { Identity } from "../sdk/identity/identity.js";
import { type Passthrough, type PassthroughOptions, passthrough } from "../sdk/passthrough/passthrough.js";
import { ServingStatus } from "../sdk/telemetry/health.js";
import { type Log, silentLog } from "../sdk/telemetry/log.js";
import { createDialer, type Dialer } from "../sdk/transport/dial.js";
import { type Component, forwarderComponent, nsmgrComponent, registryComponent } from "./components.js";

export interface DomainOptions {
  /** Default 1. */
  readonly nodes?: number;
  /** Default none: every mechanism is negotiated, nothing is built. `kernel` needs root; `fast` is memif, by the packet core. */
  readonly dataplane?: "none" | "kernel" | "fast";
  /** Life of a connection without a refresh, in milliseconds. Default ten minutes. */
  readonly maxTokenLifetimeMs?: number;
  /** Further settings of every component, by environment name. */
  readonly env?: Readonly<Record<string, string>>;
  readonly log?: Log;
  /**
   * Mutual TLS everywhere: the identity of each component, client and endpoint by its name, and of "domain", which asks
   * the components whether they are ready. Default: as with --insecure.
   */
  readonly identityOf?: ((name: string) => Promise<Identity>) | undefined;
}

const readyTimeoutMs = 20_000;

export interface DomainNode {
  readonly name: string;
  /** Where the clients and endpoints of this node ask. */
  readonly url: string;
  readonly nsmgr: Component;
  readonly forwarder: Component;
  /** `connect` at this node. Without a data plane no liveness is checked, unless the options say so. */
  connect(options: ConnectOptions): Promise<ClientConnection>;
  /** `serve` at this node. */
  serve(options: ServeOptions): Promise<Serving>;
  passthrough(options: PassthroughOptions): Promise<Passthrough>;
}

export interface Domain extends AsyncDisposable {
  readonly registry: Component;
  readonly nodes: readonly [DomainNode, ...DomainNode[]];
  /** For asking any component directly. */
  readonly dialer: Dialer;
  /**
   * Stops everything that is still running, newest first, what was made with the nodes' `connect`, `serve` and
   * `passthrough` too, and removes the folder.
   */
  stop(): Promise<void>;
}

export async function startDomain(options: DomainOptions = {}): Promise<Domain> {
  const { nodes: count = 1, dataplane = "none", log = silentLog } = options;
  // short: a socket path has 107 bytes at most
  const folder = mkdtempSync(join(tmpdir(), "weft-domain-"));
  const env = {
    WEFT_INSECURE: "true",
    NSM_MAX_TOKEN_LIFETIME: `${options.maxTokenLifetimeMs ?? 600_000}ms`,
    WEFT_DRAIN_TIMEOUT: "100ms",
    ...options.env,
  };
  const identityOf = async (name: string): Promise<Identity | undefined> => options.identityOf?.(name);
  const dialer = createDialer({ dialTimeoutMs: 5_000, identity: await identityOf("domain"), log });
  const stops: (() => Promise<void> | void)[] = [() => rmSync(folder, { recursive: true, force: true }), () => dialer.close()];
  const stop = async (): Promise<void> => {
    for (const undo of stops.splice(0).reverse()) await undo();
  };
  const started = async (component: Component): Promise<Component> => {
    stops.push(() => component.stop());
    await component.start();
    return component;
  };
  try {
    const registryUrl = `unix://${folder}/registry.sock`;
    const registry = await started(
      registryComponent({ ...env, NSM_LISTEN_ON: registryUrl, WEFT_STORE: "memory" }, log, await identityOf("registry")),
    );
    const nodes: DomainNode[] = [];
    for (let index = 0; index < count; index += 1) {
      const name = `node-${index + 1}`;
      const url = `unix://${folder}/${name}.sock`;
      const common = { ...env, NODE_NAME: name };
      const nsmgr = await started(
        nsmgrComponent(
          { ...common, NSM_NAME: `nsmgr-${name}`, NSM_LISTEN_ON: `${url},tcp://127.0.0.1:0`, NSM_REGISTRY_URL: registryUrl },
          log,
          await identityOf(`nsmgr-${name}`),
        ),
      );
      const forwarderEnv = {
        ...common,
        NSM_NAME: `forwarder-${name}`,
        NSM_LISTEN_ON: `unix://${folder}/fwd-${index + 1}.sock`,
        NSM_CONNECT_TO: url,
        // Loopback carries no tunnel; with a data plane the forwarder finds an address of the machine.
        ...(dataplane === "none" ? { NSM_TUNNEL_IP: "127.0.0.1" } : {}),
        WEFT_DATAPLANE: dataplane,
        WEFT_STATE_DIR: `${folder}/fwd-${index + 1}`,
      };
      const forwarder = await started(forwarderComponent(forwarderEnv, log, await identityOf(`forwarder-${name}`)));
      await serving(dialer, url);
      nodes.push(nodeOf({ name, url, nsmgr, forwarder, dialer, dataplane, log, stops, identityOf }));
    }
    const [first, ...others] = nodes;
    if (first === undefined) throw new RangeError("a domain has at least one node");
    return { registry, nodes: [first, ...others], dialer, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the manager knows its registry and its forwarder. */
async function serving(dialer: Dialer, url: string): Promise<void> {
  const limit = AbortSignal.timeout(readyTimeoutMs);
  while ((await dialer.health(url, "", limit)) !== ServingStatus.SERVING) {
    limit.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

interface Parts {
  readonly name: string;
  readonly url: string;
  readonly nsmgr: Component;
  readonly forwarder: Component;
  readonly dialer: Dialer;
  readonly dataplane: NonNullable<DomainOptions["dataplane"]>;
  readonly log: Log;
  readonly stops: (() => Promise<void> | void)[];
  readonly identityOf: (name: string) => Promise<Identity | undefined>;
}

function nodeOf({ name, url, nsmgr, forwarder, dialer, dataplane, log, stops, identityOf }: Parts): DomainNode {
  // An echo would find no packets where nothing is built, and healing would never end.
  const unprobed = dataplane === "none" ? { liveness: false as const } : {};
  const closedAtEnd = <T extends { close(): Promise<void> }>(made: T): T => {
    stops.push(() => made.close());
    return made;
  };
  return {
    name,
    url,
    nsmgr,
    forwarder,
    connect: async (options) => {
      const identity = await identityOf(options.name ?? "client");
      // the shared dialer shows the domain's identity, so a client with one of its own has one of its own
      const common = { nsmgr: url, log, ...(identity === undefined ? { dialer } : { identity }) };
      return closedAtEnd(await connect({ ...common, workload: { nodeName: name }, ...unprobed, ...options }));
    },
    serve: async (options) => closedAtEnd(await serve({ nsmgr: url, log, identity: await identityOf(options.name), ...options })),
    passthrough: async (options) =>
      closedAtEnd(await passthrough({ nsmgr: url, log, identity: await identityOf(options.name), ...options })),
  };
}
