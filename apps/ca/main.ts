/** The built-in certificate authority: `weft ca` serves, `weft ca token` makes a join token, `weft ca init` makes a cluster's root. */
import { resolveStateDir } from "../../sdk/config/state-dir.js";
import { readSettings, reportUnread, type Values } from "../../sdk/config/table.js";
import { openAuthority, openUsedTokens } from "../../sdk/identity/authority-store.js";
import { serveCa } from "../../sdk/identity/ca-server.js";
import { fingerprintOf, mintJoinToken } from "../../sdk/identity/join-token.js";
import { parseSpiffeId } from "../../sdk/identity/spiffe-id.js";
import { privateKeyOf } from "../../sdk/identity/svid.js";
import { createKubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import { toStatusError } from "../../sdk/status.js";
import { startTelemetry } from "../../sdk/telemetry/telemetry.js";
import { aborted, type RunOptions } from "../run-workload.js";
import { caSettings, caTokenSettings } from "./config.js";
import { attestByTokenReview, openAuthorityInSecret, publishRoot } from "./kubernetes.js";

/**
 * The command `weft ca`.
 * @returns the exit code
 */
export async function run(options: RunOptions): Promise<number> {
  if (options.argv[0] === "token") return token({ ...options, argv: options.argv.slice(1) });
  if (options.argv[0] === "init") return init({ ...options, argv: options.argv.slice(1) });
  const summary = "The built-in certificate authority: identities for components, so that SPIRE is a choice.";
  const read = readSettings({ name: "weft ca", summary }, caSettings, options);
  if (!read.ok) return reportUnread(read);
  const { values } = read;
  const telemetry = await startTelemetry({ name: values.name, settings: values });
  const { log } = telemetry;
  const cut = new AbortController();
  try {
    const folder = resolveStateDir(values.stateDir, values.name, options.env);
    const cluster = values.kubernetes ? await openCluster(values, options.env) : undefined;
    const authority = cluster?.authority ?? (await openAuthority(folder, values.trustDomain));
    const ca = await serveCa({
      attest: cluster?.attest,
      listenOn: values.listenOn,
      authority,
      used: openUsedTokens(folder),
      lifetimeMs: values.svidLifetimeMs,
      log,
      signal: cut.signal,
    });
    const root = fingerprintOf(authority.certificate);
    log.info("authority is ready", { urls: ca.urls, trustDomain: values.trustDomain, folder, root });
    telemetry.health.set("", true);
    await aborted(options.signal);
    telemetry.health.set("", false);
    await ca.stop();
    cluster?.api.close();
    return 0;
  } catch (error) {
    log.error(`authority cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    await telemetry.stop();
  }
}

/** Makes the root of a cluster and tells it, before anybody starts who wants to know it. */
async function init(options: RunOptions): Promise<number> {
  const summary = "Makes the root in the Secret NAME-root where it is missing, tells it by the ConfigMap NAME, and ends.";
  const read = readSettings({ name: "weft ca init", summary }, caSettings, options);
  if (!read.ok) return reportUnread(read);
  try {
    const { api, authority } = await openCluster(read.values, options.env);
    api.close();
    process.stdout.write(`${fingerprintOf(authority.certificate)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`weft ca init: ${toStatusError(error).details}\n`);
    return 1;
  }
}

/** The root from a Secret, told by a ConfigMap; pods are known by their service account tokens. */
async function openCluster(values: Values<typeof caSettings>, env: RunOptions["env"]) {
  const { name, trustDomain, kubeconfig } = values;
  const connection = await findApiConnection({ env, kubeconfig });
  const api = createKubernetesApi(connection, { userAgent: "weft-ca" });
  const place = { namespace: connection.namespace, name };
  const authority = await openAuthorityInSecret(api, place, trustDomain);
  await publishRoot(api, place, authority);
  return { api, authority, attest: attestByTokenReview(api, trustDomain) };
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
