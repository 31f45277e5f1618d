/** The identity of a workload from the variables that all parts of a mesh read: the same container runs in every mesh. */

import { identitySettings } from "../config/identity.js";
import { boolean } from "../config/kinds.js";
import { readSettings, setting } from "../config/table.js";
import { Code, statusError } from "../status.js";
import { type Log, silentLog } from "../telemetry/log.js";
import type { Identity } from "./identity.js";
import { startIdentity } from "./start.js";

const settings = {
  ...identitySettings,
  insecure: setting("WEFT_INSECURE", boolean, "run without an identity", { default: "false" }),
};

/** Where an identity is looked for, and how long. */
export interface IdentityOptions {
  /** Ends the wait for the first certificate. */
  readonly signal: AbortSignal;
  /** As a rule `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log?: Log;
}

/**
 * Waits until there is an identity, for `connect`, `serve` and `passthrough`; it is renewed until its `close()`.
 * Read are SPIFFE_ENDPOINT_SOCKET, or WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TLS_BUNDLE, or WEFT_CA_URL with a join token
 * (docs/security.md), or WEFT_INSECURE=true.
 * @returns undefined with WEFT_INSECURE=true
 * @throws INVALID_ARGUMENT none is configured, or more than one, or a malformed one; UNAUTHENTICATED the authority refuses;
 *         the reason of `signal`
 */
export async function identityFromEnvironment(options: IdentityOptions): Promise<Identity | undefined> {
  const { signal, env, log = silentLog } = options;
  const read = readSettings({ name: "identity", summary: "" }, settings, { argv: [], env });
  if (!read.ok) throw statusError(Code.INVALID_ARGUMENT, read.text.trim());
  return startIdentity(read.values, { log, signal });
}
