/** What an authority keeps in its folder: root.pem, root.key (0600) and which join tokens have been used. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code, statusError } from "../status.js";
import { type Authority, createAuthority, restoreAuthority } from "./authority.js";
import type { UsedTokens } from "./ca-server.js";
import { certificateNames } from "./certificate.js";

/** Life of a root. */
export const tenYearsMs = 10 * 365 * 24 * 3600 * 1000;

/**
 * The authority of a folder; a new one where there is none.
 * @throws FAILED_PRECONDITION the folder holds that of another trust domain, or cannot be read
 */
export async function openAuthority(folder: string, trustDomain: string): Promise<Authority> {
  const certificateFile = join(folder, "root.pem");
  const keyFile = join(folder, "root.key");
  if (!existsSync(certificateFile)) {
    const made = await createAuthority(trustDomain, { lifetimeMs: tenYearsMs });
    writeFileSync(keyFile, made.privateKeyPem, { mode: 0o600 });
    replaceFile(certificateFile, made.certificate.toString());
    return made;
  }
  try {
    const restored = await restoreAuthority(trustDomain, readFileSync(certificateFile, "utf8"), readFileSync(keyFile, "utf8"));
    const [uri] = certificateNames(restored.certificate).uris;
    if (uri === `spiffe://${trustDomain}`) return restored;
    throw new Error(`it is that of ${uri}, not of ${trustDomain}; choose another folder, or that trust domain`);
  } catch (error) {
    throw statusError(Code.FAILED_PRECONDITION, `the authority in ${folder}: ${(error as Error).message}`, error);
  }
}

/** The used tokens of a folder. */
export function openUsedTokens(folder: string): UsedTokens {
  const file = join(folder, "used-tokens.json");
  const used = new Map<string, { key: string; expiresMs: number }>(
    existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as [string, { key: string; expiresMs: number }][]) : [],
  );
  return {
    keyOf: (nonce) => used.get(nonce)?.key,
    use(nonce, key, expiresMs) {
      if (used.has(nonce)) return;
      for (const [old, { expiresMs: endMs }] of used) if (endMs <= Date.now()) used.delete(old);
      used.set(nonce, { key, expiresMs });
      replaceFile(file, JSON.stringify([...used]));
    },
  };
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}
