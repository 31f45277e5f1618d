/**
 * A mesh in this process in which everybody has an identity: mutual TLS, tokens and policies. Registry, two nodes with
 * manager and forwarder that build nothing, and any number of workloads. Needs no root.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { forwarderSettings } from "../../forwarder/config.js";
import { startForwarder } from "../../forwarder/start.js";
import { nodeSettings } from "../../node/config.js";
import { startNode } from "../../node/start.js";
import { nodeLabels, nsmgrSettings } from "../../nsmgr/config.js";
import { startNsmgr } from "../../nsmgr/main.js";
import { registrySettings } from "../../registry/config.js";
import { startRegistry } from "../../registry/main.js";
import { readSettings, type Table, type Values } from "../../sdk/config/table.js";
import { type ServeOptions, type Serving, serve } from "../../sdk/endpoint/serve.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import type { Authority } from "../../sdk/identity/authority.js";
import { ownInodeUrl } from "../../sdk/linux/netns.js";
import { createLog, type Log } from "../../sdk/telemetry/log.js";
import { hourMs, type RenewableIdentity, testAuthority, testIdentity } from "../../sdk/testing/identities.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { type ComponentProcess, componentProcess } from "../journey/process.js";

export interface TrustedMesh {
  readonly registryUrl: string;
  /** Managers of the two nodes. */
  readonly urls: readonly [string, string];
  /** In their order, when they are processes. */
  readonly managers: readonly ComponentProcess[];
  readonly forwarderUrl: string;
  readonly signal: AbortSignal;
  /** Lines of the audit log of all components. */
  readonly audit: readonly string[];
  /** All lines of all components, at the level trace. */
  readonly log: readonly string[];
  /** Who makes all identities of the mesh, managers as /nsmgr-n1 and so on. */
  readonly authority: Authority;
  identity(path: string): Promise<RenewableIdentity>;
  /** The same as files, and the settings that name them, for a process. */
  identityFiles(path: string): Promise<Record<string, string>>;
  /** Somebody who asks, with an identity of that name. */
  workload(path: string): Promise<Workload>;
  serve(options: Partial<ServeOptions> & { name: string; node?: 0 | 1 }): Promise<Serving>;
}

export interface Workload {
  readonly dialer: Dialer;
  request(connection: Parameters<typeof Connection.fromPartial>[0], node?: 0 | 1): Promise<Connection>;
  close(connection: Connection, node?: 0 | 1): Promise<void>;
  /** What the first message of a monitor shows. */
  sees(url: string, ids?: readonly string[]): Promise<string[]>;
}

const deadline = () => Date.now() + 15_000;

export interface TrustedMeshOptions {
  /** The managers are processes of their own, which can be killed. */
  readonly managerProcesses?: boolean;
  /** Manager and forwarder of each node are one process (`weft node`), with one identity: that of the manager. */
  readonly joined?: boolean;
}

export async function startTrustedMesh(
  t: Pick<TestContext, "after">,
  env: Record<string, string> = {},
  options: TrustedMeshOptions = {},
): Promise<TrustedMesh> {
  const folder = mkdtempSync(join(tmpdir(), "weft-t-"));
  const stopping = new AbortController();
  const { signal } = stopping;
  const stops: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
  t.after(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
    stopping.abort();
  });
  const audit: string[] = [];
  const lines: string[] = [];
  const write = (line: string): void => {
    lines.push(line);
    if (line.includes('"audit"')) audit.push(line);
  };
  const logOf = (name: string): Log => createLog({ name, level: "trace", destination: { write } });
  const authority = await testAuthority();
  const identity = (path: string) => testIdentity(authority, path);
  const base = { WEFT_DRAIN_TIMEOUT: "100ms", WEFT_INSECURE: "true", ...env };
  const registryUrl = `unix://${folder}/registry.sock`;
  const registry = await startRegistry(read(registrySettings, { ...base, NSM_LISTEN_ON: registryUrl, WEFT_STORE: "memory" }), {
    log: logOf("registry"),
    identity: await identity("/registry"),
    signal: new AbortController().signal,
  });
  stops.push(() => registry.stop());

  const identityFiles = (path: string) => filesFor(authority, path, join(folder, `id${path.replaceAll("/", "-")}`));
  const health = createDialer({ dialTimeoutMs: 2_000, identity: await identity("/health") });
  stops.push(() => health.close());
  const managers: ComponentProcess[] = [];
  const node = async (name: string): Promise<string> => {
    const url = `unix://${folder}/${name}.sock`;
    const managerEnv = {
      ...base,
      NSM_NAME: `nsmgr-${name}`,
      NSM_LISTEN_ON: `${url},tcp://127.0.0.1:0`,
      NSM_REGISTRY_URL: registryUrl,
      WEFT_STATE_DIR: join(folder, `nsmgr-${name}`),
    };
    if (options.joined) {
      const names = { WEFT_FORWARDER_NAME: `forwarder-${name}`, WEFT_FORWARDER_LISTEN_ON: `unix://${folder}/f-${name}.sock` };
      const plane = { NSM_TUNNEL_IP: "127.0.0.1", WEFT_DATAPLANE: "none" };
      const joined = await startNode(
        { ...read(nodeSettings, { ...managerEnv, ...names, ...plane }), nodeLabels: nodeLabels({}) },
        { log: logOf(`node-${name}`), identity: await identity(`/nsmgr-${name}`) },
      );
      stops.push(() => joined.stop());
      await joined.forwarder.registered;
      return url;
    }
    if (options.managerProcesses) {
      const files = await identityFiles(`/nsmgr-${name}`);
      const where = { dialer: health, url, signal };
      const manager = componentProcess("nsmgr", { ...managerEnv, ...files, WEFT_INSECURE: "false" }, where);
      stops.push(() => manager.stop());
      await manager.start();
      managers.push(manager);
    } else {
      const manager = await startNsmgr(
        { ...read(nsmgrSettings, managerEnv), nodeLabels: nodeLabels({}) },
        { log: logOf(`nsmgr-${name}`), identity: await identity(`/nsmgr-${name}`) },
      );
      stops.push(() => manager.stop());
    }
    const forwarderEnv = {
      ...base,
      NSM_NAME: `forwarder-${name}`,
      NSM_LISTEN_ON: `unix://${folder}/f-${name}.sock`,
      NSM_CONNECT_TO: url,
      NSM_TUNNEL_IP: "127.0.0.1",
      WEFT_DATAPLANE: "none",
      WEFT_STATE_DIR: join(folder, name),
    };
    const forwarder = await startForwarder(read(forwarderSettings, forwarderEnv), {
      log: logOf(`forwarder-${name}`),
      identity: await identity(`/forwarder-${name}`),
    });
    stops.push(() => forwarder.stop());
    await forwarder.registered;
    return url;
  };
  const urls = [await node("n1"), await node("n2")] as const;

  return {
    registryUrl,
    urls,
    managers,
    forwarderUrl: `unix://${folder}/f-n1.sock`,
    signal,
    audit,
    log: lines,
    authority,
    identity,
    identityFiles,
    async workload(path) {
      const dialer = createDialer({ dialTimeoutMs: 2_000, identity: await identity(path), log: logOf(path) });
      stops.push(() => dialer.close());
      return workloadOf(dialer, urls, signal);
    },
    async serve({ node: at = 0, ...options }) {
      const serving = await serve({
        services: ["service"],
        cidrs: ["172.16.0.0/24"],
        nsmgr: urls[at],
        signal,
        identity: await identity(`/${options.name}`),
        log: logOf(options.name),
        ...options,
      });
      stops.push(() => serving.close());
      return serving;
    },
  };
}

function workloadOf(dialer: Dialer, urls: readonly [string, string], signal: AbortSignal): Workload {
  return {
    dialer,
    request: (connection, node = 0) =>
      dialer.connections(urls[node]).request(
        NetworkServiceRequest.fromPartial({
          connection,
          mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: ownInodeUrl(), name: "nsm-1" } }],
        }),
        { signal, deadlineMs: deadline() },
      ),
    close: (connection, node = 0) => dialer.connections(urls[node]).close(connection, { signal, deadlineMs: deadline() }),
    async sees(url, ids = []) {
      const leave = new AbortController();
      const path_segments = ids.map((id) => ({ id, name: "", token: "", metrics: {} }));
      try {
        for await (const event of dialer.monitor(url, { path_segments, network_services: [] }, leave.signal)) {
          return Object.keys(event.connections).sort();
        }
        return [];
      } finally {
        leave.abort();
      }
    },
  };
}

/** A first request of a client of that name for the service of these meshes. */
export function wanted(id: string, client = "client"): Parameters<typeof Connection.fromPartial>[0] {
  return { id, network_service: "service", path: { index: 0, path_segments: [{ name: client, id }] } };
}

/** An identity as files, and the settings that name them. */
async function filesFor(authority: Authority, path: string, folder: string): Promise<Record<string, string>> {
  const { certificate, privateKey } = await authority.issue([`spiffe://${authority.trustDomain}${path}`], { lifetimeMs: hourMs });
  mkdirSync(folder);
  const file = (name: string, text: string | Buffer): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  return {
    WEFT_TLS_CERT: file("cert.pem", certificate.toString()),
    WEFT_TLS_KEY: file("key.pem", privateKey.export({ type: "pkcs8", format: "pem" })),
    WEFT_TLS_BUNDLE: file("bundle.pem", authority.certificate.toString()),
  };
}

function read<T extends Table>(table: T, env: Record<string, string>): Values<T> {
  const settings = readSettings({ name: "test", summary: "" }, table, { argv: [], env });
  if (!settings.ok) throw new Error(settings.text);
  return settings.values;
}
