/** Life of the admission webhook: settings → API → certificate → HTTPS → wait → stop. */
import { Counter, Histogram } from "prom-client";
import { readSettings, reportUnread } from "../sdk/config/table.js";
import { createKubernetesApi, type KubernetesApi } from "../sdk/kubernetes/api.js";
import { findApiConnection } from "../sdk/kubernetes/connection.js";
import { toStatusError } from "../sdk/status.js";
import { startTelemetry, type Telemetry } from "../sdk/telemetry/telemetry.js";
import { type AdmissionServer, serveAdmission } from "./admission-server.js";
import { followCertificateFiles, readCertificateFiles } from "./certificate-files.js";
import { createNamespaceBook, hasNativeSidecars } from "./cluster.js";
import { sidecarOf, type WebhookConfig, webhookSettings } from "./config.js";
import { decide } from "./decide.js";
import { ensureCaBundle, ensureCertificate, type KeepCertificateOptions, keepCertificate } from "./keep-certificate.js";

const command = { name: "weft webhook", summary: "The admission webhook: pods get their clients by annotation." };
/** How often certificate, Secret and webhook configuration are looked at. */
const lookMs = 15_000;
/** How often files with a certificate are read. */
const fileLookMs = 5_000;
const longestPauseMs = 10_000;

/** The command `weft webhook`; the result is its exit code. */
export async function run(options: {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}): Promise<number> {
  const read = readSettings(command, webhookSettings, options);
  if (!read.ok) return reportUnread(read);
  const config = read.values;
  const telemetry = await startTelemetry({ name: config.name, settings: config });
  const { log } = telemetry;
  const stops: (() => void | Promise<void>)[] = [];
  try {
    const api = createKubernetesApi(await findApiConnection({ env: options.env, kubeconfig: config.kubeconfig }), {
      userAgent: "weft-webhook",
    });
    stops.push(() => api.close());
    const server = await start(config, api, telemetry, options.signal, stops);
    telemetry.health.set("", true);
    log.info("webhook is ready", { url: server.url, mode: config.mode });
    await aborted(options.signal);
    log.info("webhook stops");
    telemetry.health.set("", false);
    return 0;
  } catch (error) {
    if (options.signal.aborted) return 0;
    log.error(`webhook cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    for (const stop of stops.reverse()) await stop();
    await telemetry.stop();
  }
}

async function start(
  config: WebhookConfig,
  api: KubernetesApi,
  telemetry: Telemetry,
  signal: AbortSignal,
  stops: (() => void | Promise<void>)[],
): Promise<AdmissionServer> {
  const { log } = telemetry;
  const sidecar = sidecarOf(config);
  const book = createNamespaceBook(api, log);
  stops.push(() => book.stop());
  await book.synced(signal);
  const native =
    config.sidecars === "auto" ? await untilKnown(() => hasNativeSidecars(api), log, signal) : config.sidecars === "native";
  log.info("clients are made as", { sidecars: native ? "native" : "classic", mode: config.mode, csi: config.csi });
  const keep: KeepCertificateOptions = {
    api,
    namespace: config.namespace,
    secretName: `${config.name}-certificates`,
    configuration: config.name,
    dnsNames: namesOf(config),
    log,
    nowMs: Date.now,
  };
  const files = await readCertificateFiles(config);
  const certificate = files ?? (await untilKnown(() => ensureCertificate(keep), log, signal));
  const { csi, annotation, mode: defaultMode } = config;
  const server = await serveAdmission({
    listenOn: config.listenOn,
    certificate,
    log,
    onAnswer: meter(telemetry),
    decide: async (review) => {
      const namespace = review.kind === "Pod" ? await book.metaOf(review.namespace) : undefined;
      return decide(review, { namespace, defaultMode, native, csi, annotation, sidecar });
    },
  });
  stops.push(() => server.stop());
  // only now: an apiserver that trusts us must find us
  const { caPem } = certificate;
  if (caPem !== undefined) await untilKnown(() => ensureCaBundle(keep, caPem), log, signal);
  const watching = new AbortController();
  stops.push(() => watching.abort());
  if (files === undefined) void keepCertificate({ ...keep, everyMs: lookMs, signal: watching.signal }, (set) => server.use(set));
  else {
    void followCertificateFiles({ files: config, everyMs: fileLookMs, log, signal: watching.signal }, files, async (now) => {
      server.use(now);
      if (now.caPem !== undefined) await ensureCaBundle(keep, now.caPem);
    });
  }
  return server;
}

function namesOf({ serviceName, namespace, certNames }: WebhookConfig): string[] {
  const service = `${serviceName}.${namespace}.svc`;
  return [service, `${service}.cluster.local`, ...certNames];
}

function meter({ metrics }: Telemetry): (durationMs: number, allowed: boolean) => void {
  if (metrics === undefined) return () => {};
  const duration = new Histogram({
    name: "weft_webhook_review_duration_seconds",
    help: "Time to answer an admission review",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
    registers: [metrics.registry],
  });
  const refused = new Counter({
    name: "weft_webhook_refusals_total",
    help: "Objects refused because of their annotation",
    registers: [metrics.registry],
  });
  return (durationMs, allowed) => {
    duration.observe(durationMs / 1000);
    if (!allowed) refused.inc();
  };
}

/** Tries until it is done; what is refused for good (RBAC) is told each time with its remedy. */
async function untilKnown<T>(attempt: () => Promise<T>, log: Telemetry["log"], signal: AbortSignal): Promise<T> {
  for (let pauseMs = 200; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      log.warn("not ready yet; trying again", { error: toStatusError(error), pauseMs });
      await Promise.race([aborted(signal), new Promise((resolve) => setTimeout(resolve, pauseMs))]);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
