/** The ready-made workloads as commands in this process, each in a namespace of its own. */

import { run as runClient } from "../../apps/client/main.js";
import { run as runEgress } from "../../apps/egress-gateway/main.js";
import { run as runFirewall } from "../../apps/firewall/main.js";
import { run as runResponder } from "../../apps/icmp-responder/main.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import type { CleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import type { Dialer } from "../../sdk/transport/dial.js";

const commands = { client: runClient, egress: runEgress, firewall: runFirewall, responder: runResponder } as const;

const readyTimeoutMs = 40_000;

export type WorkloadKind = keyof typeof commands;

export interface RunningWorkload {
  /** Where it answers health and operators. */
  readonly url: string;
  /** As SIGTERM does; resolves with the exit code. */
  stop(): Promise<number>;
  readonly exited: Promise<number>;
}

/** Starts a workload and waits until it says that it is ready. It is stopped when the test ends. */
export async function startWorkload(
  t: CleanUp,
  kind: WorkloadKind,
  options: { readonly url: string; readonly dialer: Dialer; readonly env: Readonly<Record<string, string>> },
): Promise<RunningWorkload> {
  const { url, dialer } = options;
  const stopping = new AbortController();
  const env = { WEFT_INSECURE: "true", NSM_LOG_LEVEL: "error", NSM_LISTEN_ON: url, ...options.env };
  let ended = false;
  const exited = commands[kind]({ argv: [], env, signal: stopping.signal }).finally(() => {
    ended = true;
  });
  const stop = (): Promise<number> => {
    stopping.abort();
    return exited;
  };
  t.after(stop);
  await until(
    `${kind} to be ready`,
    async () => {
      if (ended) throw new Error(`${kind} ended with ${await exited}`);
      const limit = AbortSignal.timeout(1_000);
      return (await dialer.health(url, "", limit).catch(() => ServingStatus.UNKNOWN)) === ServingStatus.SERVING;
    },
    readyTimeoutMs,
  );
  return { url, stop, exited };
}
