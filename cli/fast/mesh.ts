/**
 * A memif mesh of two nodes without a single network namespace: registry, managers and forwarders are processes of this
 * user, nodes differ by their loopback address, and tunnels are UDP datagrams between those. Needs no right at all.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Code, statusError } from "../../sdk/status.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { createDialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";

export interface FastNode {
  readonly name: string;
  /** Where clients and endpoints of the node ask. */
  readonly url: string;
  readonly tunnelAddress: string;
  /** Socket of the keeper of the node's packet core. */
  readonly keeperSocket: string;
}

export interface FastMesh {
  readonly nodes: readonly [FastNode, FastNode];
  readonly folder: string;
  /** Ends every process and removes every file. */
  stop(): Promise<void>;
}

const readyTimeoutMs = 30_000;
const graceMs = 5_000;

export async function startFastMesh({ self, env, signal }: CliContext): Promise<FastMesh> {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  const children: ChildProcess[] = [];
  const dialer = createDialer({ dialTimeoutMs: 1_000 });
  const [program = "", ...first] = self;
  const start = (component: string, log: string, settings: Readonly<Record<string, string>>): void => {
    const file = openSync(join(folder, `${log}.log`), "a");
    const common = { WEFT_INSECURE: "true", WEFT_RUN_FROM: env["WEFT_RUN_FROM"], NSM_DIAL_TIMEOUT: "5s" };
    children.push(
      spawn(program, [...first, component], { stdio: ["ignore", file, file], env: { ...env, ...common, ...settings } }),
    );
    closeSync(file);
  };
  const stop = async (): Promise<void> => {
    dialer.close();
    // Forwarders before managers and registry: they still take themselves out of them.
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await Promise.race([ended, pause(graceMs)]);
      child.kill("SIGKILL");
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const registry = `unix://${folder}/registry.sock`;
    start("registry", "registry", { NSM_NAME: "registry", NSM_LISTEN_ON: registry, WEFT_STORE: "memory" });
    const nodes = [1, 2].map((index) => startNode(index, folder, registry, start));
    for (const { url } of nodes) await serving(dialer, url, folder, signal);
    const [near, far] = nodes;
    if (near === undefined || far === undefined) throw new RangeError("two nodes");
    return { nodes: [near, far], folder, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Start = (component: string, log: string, settings: Readonly<Record<string, string>>) => void;

function startNode(index: number, folder: string, registry: string, start: Start): FastNode {
  const name = `node-${index}`;
  const url = `unix://${folder}/${name}.sock`;
  const stateDir = join(folder, name);
  const tunnelAddress = `127.0.0.${index}`;
  mkdirSync(stateDir, { mode: 0o700 });
  start("nsmgr", `nsmgr-${index}`, {
    ...{ NSM_NAME: `nsmgr-${index}`, NODE_NAME: name, NSM_LISTEN_ON: `${url},tcp://127.0.0.1:0`, NSM_REGISTRY_URL: registry },
    WEFT_STATE_DIR: join(stateDir, "nsmgr"),
  });
  start("forwarder", `forwarder-${index}`, {
    ...{ NSM_NAME: `forwarder-${index}`, NODE_NAME: name, NSM_LISTEN_ON: `unix://${stateDir}/fwd.sock`, NSM_CONNECT_TO: url },
    ...{ NSM_TUNNEL_IP: tunnelAddress, WEFT_DATAPLANE: "fast", WEFT_DIRECT_MEMIF: "false", WEFT_STATE_DIR: stateDir },
    // The tests of a machine run side by side; tunnels of one demo must not reach another's.
    NSM_VXLAN_PORT: String(20_000 + (process.pid % 40_000)),
  });
  return { name, url, tunnelAddress, keeperSocket: join(stateDir, "core.sock") };
}

async function serving(dialer: ReturnType<typeof createDialer>, url: string, folder: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(readyTimeoutMs)]);
  for (;;) {
    const status = await dialer.health(url, "", limit).catch(() => undefined);
    if (status === ServingStatus.SERVING) return;
    signal.throwIfAborted();
    if (limit.aborted)
      throw statusError(Code.UNAVAILABLE, `${url} does not serve within ${readyTimeoutMs / 1000} s; logs are in ${folder}`);
    await pause(30);
  }
}
