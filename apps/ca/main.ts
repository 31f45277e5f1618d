/** The built-in certificate authority: `weft ca` serves, `weft ca token` makes a join token. */
import { resolveStateDir } from "../../sdk/config/state-dir.js";
import { readSettings, reportUnread } from "../../sdk/config/table.js";
import { openAuthority, openUsedTokens } from "../../sdk/identity/authority-store.js";
import { serveCa } from "../../sdk/identity/ca-server.js";
import { mintJoinToken } from "../../sdk/identity/join-token.js";
import { parseSpiffeId } from "../../sdk/identity/spiffe-id.js";
import { privateKeyOf } from "../../sdk/identity/svid.js";
import { toStatusError } from "../../sdk/status.js";
import { startTelemetry } from "../../sdk/telemetry/telemetry.js";
import { aborted, type RunOptions } from "../run-workload.js";
import { caSettings, caTokenSettings } from "./config.js";

/**
 * The command `weft ca`.
 * @returns the exit code
 */
export async function run(options: RunOptions): Promise<number> {
  if (options.argv[0] === "token") return token({ ...options, argv: options.argv.slice(1) });
  const summary = "The built-in certificate authority: identities for components, so that SPIRE is a choice.";
  const read = readSettings({ name: "weft ca", summary }, caSettings, options);
  if (!read.ok) return reportUnread(read);
  const { values } = read;
  const telemetry = await startTelemetry({ name: values.name, settings: values });
  const { log } = telemetry;
  const cut = new AbortController();
  try {
    const folder = resolveStateDir(values.stateDir, values.name, options.env);
    const authority = await openAuthority(folder, values.trustDomain);
    const ca = await serveCa({
      listenOn: values.listenOn,
      authority,
      used: openUsedTokens(folder),
      lifetimeMs: values.svidLifetimeMs,
      log,
      signal: cut.signal,
    });
    log.info("authority is ready", { urls: ca.urls, trustDomain: values.trustDomain, folder });
    await aborted(options.signal);
    await ca.stop();
    return 0;
  } catch (error) {
    log.error(`authority cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    await telemetry.stop();
  }
}

/** Prints a join token; needs the folder of the authority, not the running authority. */
async function token(options: RunOptions): Promise<number> {
  const summary = "Prints a join token (WEFT_JOIN_TOKEN) for one identity, or for all below a path.";
  const read = readSettings({ name: "weft ca token", summary }, caTokenSettings, options);
  if (!read.ok) return reportUnread(read);
  const { spiffeId, trustDomain, stateDir, name, lifetimeMs, reusable } = read.values;
  try {
    const { trustDomain: wanted } = parseSpiffeId(spiffeId.replace(/\/\*$/, ""));
    if (wanted !== trustDomain) throw new Error(`${spiffeId} is not of the trust domain ${trustDomain}`);
    const authority = await openAuthority(resolveStateDir(stateDir, name, options.env), trustDomain);
    const key = privateKeyOf(authority.privateKeyPem, "the authority's key");
    const made = mintJoinToken({ spiffeId, expiresMs: Date.now() + lifetimeMs, reusable }, authority.certificate, key);
    process.stdout.write(`${made}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`weft ca token: ${toStatusError(error).details}\n`);
    return 1;
  }
}
