/** The components of a domain as things a test can stop and start again. */
import { forwarderSettings } from "../forwarder/config.js";
import { startForwarder } from "../forwarder/start.js";
import { nodeSettings } from "../node/config.js";
import { startNode } from "../node/start.js";
import { nodeLabels, nsmgrSettings } from "../nsmgr/config.js";
import { startNsmgr } from "../nsmgr/main.js";
import { registrySettings } from "../registry/config.js";
import { startRegistry } from "../registry/main.js";
import { readSettings, type Table, type Values } from "../sdk/config/table.js";
import type { Identity } from "../sdk/identity/identity.js";
import type { Log } from "../sdk/telemetry/log.js";

export interface Component {
  readonly name: string;
  /** Where it listens; with real ports once it has been started. */
  readonly urls: readonly string[];
  /** Starts it at the same addresses as before. Does nothing while it runs. */
  start(): Promise<void>;
  /** Stops it as SIGTERM would. Does nothing when it is stopped. */
  stop(): Promise<void>;
}

type Env = Readonly<Record<string, string>>;
interface Running {
  readonly urls: readonly string[];
  stop(): Promise<void>;
}

export function registryComponent(env: Env, log: Log, identity?: Identity): Component {
  return component("registry", env, (now) => {
    const config = read("registry", registrySettings, now);
    return startRegistry(config, { log, identity, signal: new AbortController().signal, env: now });
  });
}

export function nsmgrComponent(env: Env, log: Log, identity?: Identity): Component {
  return component(env["NSM_NAME"] ?? "nsmgr", env, (now) => {
    const config = read("nsmgr", nsmgrSettings, now);
    return startNsmgr({ ...config, nodeLabels: nodeLabels(now) }, { log, identity });
  });
}

export function forwarderComponent(env: Env, log: Log, identity?: Identity): Component {
  return component(env["NSM_NAME"] ?? "forwarder", env, (now) => {
    const config = read("forwarder", forwarderSettings, now);
    return startForwarder(config, { log, identity });
  });
}

/** Manager and forwarder of a node in one process. */
export function nodeComponent(env: Env, log: Log, identity?: Identity): Component {
  return component(env["NSM_NAME"] ?? "nsmgr", env, async (now) => {
    const config = read("node", nodeSettings, now);
    const node = await startNode({ ...config, nodeLabels: nodeLabels(now) }, { log, identity, env: now });
    return { urls: node.nsmgr.urls, stop: node.stop };
  });
}

function component(name: string, env: Env, run: (env: Env) => Promise<Running>): Component {
  let urls: readonly string[] = (env["NSM_LISTEN_ON"] ?? "").split(",");
  let running: Running | undefined;
  return {
    name,
    get urls() {
      return urls;
    },
    async start() {
      if (running !== undefined) return;
      running = await run({ ...env, NSM_LISTEN_ON: urls.join(",") });
      urls = running.urls;
    },
    async stop() {
      const was = running;
      running = undefined;
      await was?.stop();
    },
  };
}

function read<T extends Table>(name: string, table: T, env: Env): Values<T> {
  const settings = readSettings({ name, summary: "" }, table, { argv: [], env });
  if (!settings.ok) throw new Error(settings.text);
  return settings.values;
}
