/**
 * An identity from PEM files, followed while the process runs: certificate chain, private key and trust bundles, as
 * cert-manager, spiffe-helper or an operator writes them.
 */
import type { X509Certificate } from "node:crypto";
import { type FollowedFile, followFile } from "../config/follow-file.js";
import { Code, statusError, toStatusError } from "../status.js";
import { certificateNames } from "./certificate.js";
import { createHolder, type IdentitySource, type SourceOptions } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { certificatesOfPem, makeSvid, privateKeyOf, type X509Svid } from "./svid.js";
import { spiffeIdOf } from "./verify-peer.js";

export interface IdentityFiles {
  /** Leaf first, then intermediates. */
  readonly certificate: string;
  readonly key: string;
  /** Authorities, each `FILE` or `trust.domain=FILE`; for how a plain FILE is read see `bundlesOf`. */
  readonly bundles: readonly string[];
}

/**
 * @throws FAILED_PRECONDITION when a file is missing or wrong at the start; a later mistake is logged, and the last good
 *         identity stays
 */
export async function identityFromFiles(files: IdentityFiles, { log, signal }: SourceOptions): Promise<IdentitySource> {
  signal.throwIfAborted();
  const holder = createHolder(log);
  const bundles = files.bundles.map(parseBundle);
  const paths = [files.certificate, files.key, ...bundles.map(({ path }) => path)];
  const texts = new Map<string, string | undefined>();
  let problem: unknown;
  const read = (): X509Svid => {
    if (problem !== undefined) throw problem;
    const text = (path: string): string => {
      const found = texts.get(path);
      if (found === undefined) throw statusError(Code.FAILED_PRECONDITION, `${path} does not exist`);
      return found;
    };
    const chain = certificatesOfPem(text(files.certificate), files.certificate);
    const authorities = bundles.map((one) => ({ ...one, certificates: certificatesOfPem(text(one.path), one.path) }));
    return makeSvid(chain, privateKeyOf(text(files.key), files.key), bundlesOf(chain[0] as X509Certificate, authorities));
  };
  let ready = false;
  const look = (): void => {
    if (!ready) return;
    try {
      holder.set(read());
    } catch (error) {
      // certificate and key are two files: between two writes they do not fit
      log.warn("the identity files do not hold a usable identity; the last one stays", { error: toStatusError(error) });
    }
  };
  const followed: FollowedFile[] = paths.map((path) =>
    followFile(
      path,
      (text) => {
        problem = undefined;
        texts.set(path, text);
        look();
      },
      (error) => {
        problem = error;
        look();
      },
    ),
  );
  const close = (): void => {
    for (const file of followed) file.stop();
  };
  await Promise.all(followed.map((file) => file.ready));
  try {
    signal.throwIfAborted();
    holder.set(read());
  } catch (error) {
    close();
    throw statusError(Code.FAILED_PRECONDITION, `no identity in the files: ${toStatusError(error).details}`, error);
  }
  ready = true;
  return holder.source(close);
}

interface BundleFile {
  readonly path: string;
  readonly trustDomain: string | undefined;
}

function parseBundle(text: string): BundleFile {
  const equals = text.indexOf("=");
  if (equals < 0 || text.startsWith("/")) return { path: text, trustDomain: undefined };
  const { trustDomain } = parseSpiffeId(`spiffe://${text.slice(0, equals)}`);
  return { path: text.slice(equals + 1), trustDomain };
}

/**
 * Authorities by trust domain. A file without a domain holds those that name themselves (a URI name
 * spiffe://trust.domain), and for the rest those of the domain of our own certificate.
 */
function bundlesOf(
  leaf: X509Certificate,
  files: readonly (BundleFile & { readonly certificates: readonly X509Certificate[] })[],
): Map<string, X509Certificate[]> {
  const own = spiffeIdOf(leaf).trustDomain;
  const bundles = new Map<string, X509Certificate[]>();
  for (const { trustDomain, certificates } of files) {
    for (const certificate of certificates) {
      const domain = trustDomain ?? domainOf(certificate) ?? own;
      bundles.set(domain, [...(bundles.get(domain) ?? []), certificate]);
    }
  }
  return bundles;
}

function domainOf(authority: X509Certificate): string | undefined {
  const [uri, ...more] = certificateNames(authority).uris;
  if (uri === undefined || more.length > 0) return undefined;
  try {
    return parseSpiffeId(uri).trustDomain;
  } catch {
    return undefined;
  }
}
