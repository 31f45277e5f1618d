/** Life of `weft node`: settings → telemetry → manager and forwarder → wait → stop. */
import { nodeLabels } from "../nsmgr/config.js";
import { insecureWarning, refuseWithoutIdentity } from "../sdk/config/common.js";
import { readSettings, reportUnread } from "../sdk/config/table.js";
import type { Identity } from "../sdk/identity/identity.js";
import { startIdentity } from "../sdk/identity/start.js";
import { toStatusError } from "../sdk/status.js";
import { startTelemetry } from "../sdk/telemetry/telemetry.js";
import { nodeSettings } from "./config.js";
import { type RunningNode, startNode } from "./start.js";

const command = { name: "weft node", summary: "Node manager and forwarder in one process: less memory, and one hop less." };

/** The command `weft node`; the result is its exit code. Aborting the signal stops it gracefully. */
export async function run(options: {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { argv, env, signal } = options;
  const read = readSettings(command, nodeSettings, { argv, env });
  if (!read.ok) return reportUnread(read);
  const { values } = read;
  const refusal = refuseWithoutIdentity(command.name, values);
  if (refusal !== undefined) {
    process.stderr.write(refusal);
    return 2;
  }
  const telemetry = await startTelemetry({ name: values.name, settings: values });
  const { log, observer, health } = telemetry;
  let node: RunningNode | undefined;
  let identity: Identity | undefined;
  const rotate = (): void => log.info("new WireGuard keys are asked for", { connections: node?.forwarder.rotateKeys() ?? 0 });
  try {
    identity = await startIdentity(values, { log, signal });
    if (identity === undefined) log.warn(insecureWarning);
    const metrics = values.telemetry || values.prometheus ? telemetry.metrics : undefined;
    node = await startNode({ ...values, nodeLabels: nodeLabels(env) }, { log, observer, metrics, env, identity, health });
    const { nsmgr, forwarder } = node;
    log.info("node is ready", { urls: node.urls, publicUrl: nsmgr.publicUrl, dataPlane: forwarder.dataPlane.name });
    process.on("SIGUSR2", rotate);
    // A refusal for good (name taken by another identity, …) ends the process: nobody would ever choose its forwarder.
    await Promise.race([aborted(signal), forwarder.registered.then(() => aborted(signal))]);
    log.info("node stops; its connections stay");
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    log.error(`node cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    process.off("SIGUSR2", rotate);
    await node?.stop();
    identity?.close();
    await telemetry.stop();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
