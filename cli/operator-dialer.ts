/** The dialer of an operator's questions: with the identity of the environment, for a mesh that is not the local one. */
import { identitySettings } from "../sdk/config/identity.js";
import { readSettings } from "../sdk/config/table.js";
import type { Identity } from "../sdk/identity/identity.js";
import { startIdentity } from "../sdk/identity/start.js";
import { Code, statusError } from "../sdk/status.js";
import { createLog, type Log } from "../sdk/telemetry/log.js";
import { createDialer, type Dialer } from "../sdk/transport/dial.js";
import type { CliContext } from "./context.js";
import { isNamed, type SourceOptions } from "./view/sources.js";

const dialTimeoutMs = 1000;
/** An agent that does not answer must not keep a question waiting. */
const identityTimeoutMs = 5000;

/**
 * The local mesh (`weft up`) runs without identities; what --registry and --nsmgr name is asked with that of the
 * environment (SPIFFE_ENDPOINT_SOCKET, WEFT_TLS_*, WEFT_CA_URL), if there is one.
 * @throws INVALID_ARGUMENT the environment's identity is not usable; DEADLINE_EXCEEDED its source does not answer
 */
export async function operatorDialer(options: SourceOptions, context: CliContext): Promise<Dialer> {
  if (!isNamed(options)) return createDialer({ dialTimeoutMs });
  const log = createLog({ name: "weft", level: "warn", destination: context.err });
  const identity = await environmentIdentity(context, log);
  const dialer = createDialer({ dialTimeoutMs, identity, log });
  return {
    ...dialer,
    close() {
      dialer.close();
      identity?.close();
    },
  };
}

/**
 * The identity that the environment speaks of; undefined = it speaks of none.
 * @throws INVALID_ARGUMENT it is not usable; DEADLINE_EXCEEDED its source does not answer
 */
export async function environmentIdentity({ env, signal }: CliContext, log: Log): Promise<Identity | undefined> {
  const read = readSettings({ name: "weft", summary: "" }, identitySettings, { argv: [], env });
  if (!read.ok) throw statusError(Code.INVALID_ARGUMENT, read.text);
  const { spiffeEndpointSocket, tlsCert, tlsKey, tlsBundle, caUrl, joinToken } = read.values;
  const given = [spiffeEndpointSocket, tlsCert, tlsKey, tlsBundle[0], caUrl, joinToken].some((value) => value !== undefined);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(identityTimeoutMs)]);
  return await startIdentity({ ...read.values, insecure: !given }, { log, signal: limit });
}
