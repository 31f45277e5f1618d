/** A certificate that somebody else makes (cert-manager, SPIRE's helper) and renews, as files. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { pause } from "../sdk/pause.js";
import { toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Certificate } from "./certificates.js";

export interface CertificateFiles {
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly caBundleFile: string | undefined;
}

export type GivenCertificate = Certificate & { readonly caPem: string | undefined };

/** Undefined: there are none, the webhook makes its own. @throws when only one of the two is named, or one cannot be read */
export async function readCertificateFiles(files: CertificateFiles): Promise<GivenCertificate | undefined> {
  const { certFile, keyFile, caBundleFile } = files;
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined)
    throw new Error("NSM_CERT_FILE_PATH and NSM_KEY_FILE_PATH must be set together");
  const read = (path: string): Promise<string> => readFile(path, "utf8");
  const caPem = caBundleFile === undefined ? undefined : await read(caBundleFile);
  return { certificatePem: await read(certFile), keyPem: await read(keyFile), caPem };
}

/** Looks at the files now and then until the signal aborts; a certificate that has ended is told, with what follows from it. */
export async function followCertificateFiles(
  options: { readonly files: CertificateFiles; readonly everyMs: number; readonly log: Log; readonly signal: AbortSignal },
  first: GivenCertificate,
  use: (certificate: GivenCertificate) => Promise<void>,
): Promise<void> {
  const { files, everyMs, log, signal } = options;
  let used = JSON.stringify(first);
  tellIfEnded(first, files, log);
  while (!signal.aborted) {
    await pause(everyMs, signal);
    if (signal.aborted) return;
    try {
      const now = await readCertificateFiles(files);
      const text = JSON.stringify(now);
      if (now === undefined || text === used) continue;
      await use(now);
      used = text;
      log.info("the webhook has a new certificate", { file: files.certFile });
      tellIfEnded(now, files, log);
    } catch (error) {
      // a pair that is being replaced may not fit for a moment
      log.warn("the webhook's certificate could not be read; the last one stays", { error: toStatusError(error) });
    }
  }
}

function tellIfEnded({ certificatePem }: Certificate, { certFile }: CertificateFiles, log: Log): void {
  const { validTo } = new X509Certificate(certificatePem);
  if (Date.parse(validTo) > Date.now()) return;
  const remedy = "the API server refuses it, and with failurePolicy Fail no pod can be made; put a new one there";
  log.error(`the webhook's certificate has ended: ${remedy}`, { file: certFile, ended: validTo });
}
