/**
 * Keeps the webhook's certificate alive in a cluster: makes it at the first start, keeps it in a Secret that all replicas
 * share, renews it in time, and writes its authority into the webhook configuration, which the apiserver checks us by.
 * Works by levels: each look compares what is with what should be, so that a Secret that somebody deleted, a configuration
 * that an upgrade wrote anew or two replicas at once all end in the same state.
 */
import type { KubernetesApi } from "../sdk/kubernetes/api.js";
import { isApiError, orAbsent } from "../sdk/kubernetes/api-error.js";
import { pathOf, type Resource, secrets } from "../sdk/kubernetes/resource.js";
import { pause } from "../sdk/pause.js";
import { toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { type CertificateSet, dueOf, makeCertificates, renewCertificate } from "./certificates.js";

export const webhookConfigurations: Resource = {
  group: "admissionregistration.k8s.io",
  version: "v1",
  plural: "mutatingwebhookconfigurations",
  kind: "MutatingWebhookConfiguration",
  namespaced: false,
};

export interface KeepCertificateOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly secretName: string;
  /** Name of the MutatingWebhookConfiguration. */
  readonly configuration: string;
  readonly dnsNames: readonly string[];
  readonly log: Log;
  readonly nowMs: () => number;
}

interface StoredSecret {
  readonly metadata: { readonly resourceVersion?: string };
  readonly data?: Readonly<Record<string, string>>;
}

interface Configuration {
  readonly webhooks?: readonly { readonly clientConfig?: { readonly caBundle?: string } }[];
}

/**
 * One look: the set that is to be used now.
 * @throws as the API says; PERMISSION_DENIED names the missing rule
 */
export async function ensureCertificate(options: KeepCertificateOptions): Promise<CertificateSet> {
  const { api, namespace, secretName, dnsNames, log, nowMs } = options;
  const path = pathOf(secrets, { namespace, name: secretName });
  for (let tries = 0; ; tries++) {
    const stored = await orAbsent(api.call<StoredSecret>({ path }));
    const known = setOf(stored);
    const due = dueOf(known, dnsNames, nowMs());
    if (due === "nothing" && known !== undefined) return known;
    const set =
      due === "leaf" && known !== undefined
        ? await renewCertificate(known, dnsNames, nowMs())
        : await makeCertificates(dnsNames, nowMs());
    try {
      const body = secretOf(options, set, stored?.metadata.resourceVersion);
      if (stored === undefined) await api.call({ method: "POST", path: pathOf(secrets, { namespace }), body });
      else await api.call({ method: "PUT", path, body });
      log.info("the webhook has a new certificate", {
        secret: `${namespace}/${secretName}`,
        authority: due === "all" ? "new" : "as before",
      });
      return set;
    } catch (error) {
      // another replica was first: what it made is as good
      if (!isApiError(error) || error.httpStatus !== 409 || tries >= 5) throw error;
    }
  }
}

/** Writes the authority into every webhook of the configuration that has another one. An absent configuration is none of ours. */
export async function ensureCaBundle({ api, configuration, log }: KeepCertificateOptions, caPem: string): Promise<void> {
  const path = pathOf(webhookConfigurations, { name: configuration });
  const found = await orAbsent(api.call<Configuration>({ path }));
  const caBundle = Buffer.from(caPem).toString("base64");
  const body = (found?.webhooks ?? []).flatMap(({ clientConfig }, index) =>
    clientConfig === undefined || clientConfig.caBundle === caBundle
      ? []
      : [{ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle }],
  );
  if (body.length === 0) return;
  await api.call({ method: "PATCH", patch: "json", path, body });
  log.info("the webhook configuration trusts our authority", { configuration });
}

/** Looks now and then until the signal aborts; problems are logged and tried again. */
export async function keepCertificate(
  options: KeepCertificateOptions & { readonly everyMs: number; readonly signal: AbortSignal },
  use: (set: CertificateSet) => void,
): Promise<void> {
  const { log, everyMs, signal } = options;
  let used = "";
  while (!signal.aborted) {
    await pause(everyMs, signal);
    if (signal.aborted) return;
    try {
      const set = await ensureCertificate(options);
      if (set.certificatePem !== used) use(set);
      used = set.certificatePem;
      await ensureCaBundle(options, set.caPem);
    } catch (error) {
      log.warn("the certificate of the webhook could not be looked after; trying again", { error: toStatusError(error) });
    }
  }
}

function setOf(secret: StoredSecret | undefined): CertificateSet | undefined {
  const data = secret?.data ?? {};
  const text = (key: string): string => (Object.hasOwn(data, key) ? Buffer.from(data[key] ?? "", "base64").toString("utf8") : "");
  const set = { caPem: text("ca.crt"), caKeyPem: text("ca.key"), certificatePem: text("tls.crt"), keyPem: text("tls.key") };
  return Object.values(set).includes("") ? undefined : set;
}

function secretOf(
  { namespace, secretName }: KeepCertificateOptions,
  set: CertificateSet,
  resourceVersion: string | undefined,
): object {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: secretName,
      namespace,
      labels: { "app.kubernetes.io/part-of": "weft" },
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
    type: "Opaque",
    data: {
      "ca.crt": base64(set.caPem),
      "ca.key": base64(set.caKeyPem),
      "tls.crt": base64(set.certificatePem),
      "tls.key": base64(set.keyPem),
    },
  };
}
