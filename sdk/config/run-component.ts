/**
 * The life of a component of the node as a command: settings → telemetry → identity → start → ready → wait → stop. The exit
 * code: 0 stopped in order, 1 it cannot run, 2 the settings are wrong.
 */
import type { ChainObserver } from "../chain.js";
import type { Identity } from "../identity/identity.js";
import { startIdentity } from "../identity/start.js";
import { toStatusError } from "../status.js";
import type { Health } from "../telemetry/health.js";
import type { Log, LogFields } from "../telemetry/log.js";
import type { Metrics } from "../telemetry/metrics.js";
import { startTelemetry } from "../telemetry/telemetry.js";
import { type commonSettings, insecureWarning, refuseWithoutIdentity } from "./common.js";
import { type Read, reportUnread, type Values } from "./table.js";

export interface RunOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborting it stops the component gracefully. */
  readonly signal: AbortSignal;
}

/** What a component gets from the life around it. */
export interface ComponentDeps {
  readonly log: Log;
  readonly observer: ChainObserver;
  /** Undefined: nobody asks for them. */
  readonly metrics: Metrics | undefined;
  readonly health: Health;
  /** Undefined: plain text, no tokens. */
  readonly identity: Identity | undefined;
  readonly env: RunOptions["env"];
}

export interface Component<V, Running> {
  /** As typed: "weft forwarder". */
  readonly command: string;
  /** In its log: "forwarder is ready". */
  readonly title: string;
  start(values: V, deps: ComponentDeps): Promise<Running>;
  /** Fields of the line that says that it is ready. */
  ready(running: Running, values: V): LogFields;
  /** Rejects when it has been refused for good: then the process ends, for nobody would ever choose it. */
  registered?(running: Running): Promise<unknown>;
  /** Asks for new keys, at SIGUSR2. @returns for how many connections */
  rotateKeys?(running: Running): number;
}

type Common = Values<typeof commonSettings> & { readonly name: string };

/** @returns the exit code */
export async function runComponent<V extends Common, Running extends { stop(): Promise<void> }>(
  read: Read<V>,
  { env, signal }: RunOptions,
  component: Component<V, Running>,
): Promise<number> {
  const { title } = component;
  if (!read.ok) return reportUnread(read);
  const { values } = read;
  const refusal = refuseWithoutIdentity(component.command, values);
  if (refusal !== undefined) {
    process.stderr.write(refusal);
    return 2;
  }
  const telemetry = await startTelemetry({ name: values.name, settings: values });
  const { log, observer, health } = telemetry;
  let running: Running | undefined;
  let identity: Identity | undefined;
  const rotate = (): void => {
    const connections = running && component.rotateKeys?.(running);
    log.info("new WireGuard keys are asked for", { connections: connections ?? 0 });
  };
  try {
    identity = await startIdentity(values, { log, signal });
    if (identity === undefined) log.warn(insecureWarning);
    const metrics = values.telemetry || values.prometheus ? telemetry.metrics : undefined;
    running = await component.start(values, { log, observer, metrics, health, identity, env });
    log.info(`${title} is ready`, component.ready(running, values));
    if (component.rotateKeys !== undefined) process.on("SIGUSR2", rotate);
    const stopped = aborted(signal);
    await Promise.race([stopped, (component.registered?.(running) ?? stopped).then(() => stopped)]);
    log.info(`${title} stops; its connections stay`);
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    log.error(`${title} cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    process.off("SIGUSR2", rotate);
    await running?.stop();
    identity?.close();
    await telemetry.stop();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
