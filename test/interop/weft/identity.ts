/** The identity of a client or endpoint made with the SDK. */
import { systemClock } from "../../../sdk/clock.js";
import { type Identity, identityOver } from "../../../sdk/identity/identity.js";
import type { SourceOptions } from "../../../sdk/identity/source.js";
import { identityFromWorkloadApi } from "../../../sdk/identity/workload-api-client.js";

const tenMinutesMs = 600_000;

/** @returns undefined when the environment names no Workload API */
export async function workloadIdentity(
  env: Readonly<Record<string, string | undefined>>,
  options: SourceOptions,
  maxTokenLifetimeMs = tenMinutesMs,
): Promise<Identity | undefined> {
  const { SPIFFE_ENDPOINT_SOCKET: socket } = env;
  if (socket === undefined) return undefined;
  return identityOver(await identityFromWorkloadApi(socket, options), { clock: systemClock, maxTokenLifetimeMs });
}
