/** The sidecar of a workload: gives it the interfaces of its network services and keeps them. */
import type { ClientConnection } from "../../sdk/client/connect.js";
import { createHealth } from "../../sdk/telemetry/health.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { clientSettings } from "./config.js";
import { connectAll } from "./connect-all.js";
import { serveNames } from "./serve-names.js";
import { serveStatus } from "./serve-status.js";

const command = { name: "weft client", summary: "Connects this workload to its network services and keeps it connected." };
const drainMs = 1_000;

/**
 * The command `weft client`.
 * @returns the exit code
 */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, clientSettings, options, async (values, { log, observer, identity }, signal) => {
    const { env } = options;
    const connections: ClientConnection[] = [];
    const health = createHealth();
    const status =
      values.listenOn === undefined
        ? undefined
        : await serveStatus(values.name, values.listenOn, health, connections, { identity, operators: values.operators }, log);
    const names = values.init || !values.localDnsServerEnabled ? undefined : serveNames({ ...values, log });
    // An init container leaves its connections to the sidecar, which finds them by their ids.
    const stop = async (): Promise<void> => {
      await names?.stop();
      await Promise.all(connections.map((connection) => (values.init ? connection.leave() : connection.close())));
      await status?.drain(drainMs);
    };
    const giveUp = new AbortController();
    const onAbort = (): void => giveUp.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const connecting = connectAll({
      name: values.name,
      services: values.networkServices,
      awarenessGroups: values.awarenessGroups,
      labels: values.labels,
      workload: { nodeName: env["NODE_NAME"], podName: env["POD_NAME"], clusterName: env["CLUSTER_NAME"] },
      nsmgr: values.connectTo,
      requestTimeoutMs: values.requestTimeoutMs,
      maxTokenLifetimeMs: values.maxTokenLifetimeMs,
      liveness: values.livenessCheckEnabled
        ? { intervalMs: values.livenessCheckIntervalMs, timeoutMs: values.livenessCheckTimeoutMs }
        : undefined,
      netnsUrl: values.netns,
      identity,
      log,
      observer,
      signal: giveUp.signal,
      onConnected(connection) {
        connections.push(connection);
        names?.follow(connection);
      },
    });
    try {
      await connecting;
    } catch (error) {
      giveUp.abort(error);
      await stop();
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    health.set("", true);
    log.info("all services are connected", { connections: connections.map(({ id }) => id) });
    return { ended: values.init ? Promise.resolve() : new Promise(() => {}), stop };
  });
}
