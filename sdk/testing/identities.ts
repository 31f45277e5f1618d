/** Identities for tests: of an authority of the test's own, renewed by hand. */
import { systemClock } from "../clock.js";
import { type Authority, createAuthority } from "../identity/authority.js";
import { type Identity, identityOver } from "../identity/identity.js";
import { createHolder } from "../identity/source.js";
import { makeSvid, type X509Svid } from "../identity/svid.js";
import type { TrustBundles } from "../identity/verify-peer.js";
import { type Log, silentLog } from "../telemetry/log.js";

export type RenewableIdentity = Identity & {
  /** A new certificate and key. */
  renew(lifetimeMs?: number): Promise<void>;
};

export const hourMs = 3_600_000;

export function testAuthority(trustDomain = "weft.test"): Promise<Authority> {
  return createAuthority(trustDomain, { lifetimeMs: hourMs });
}

export interface TestIdentityOptions {
  /** Default: the authority's own. */
  readonly bundles?: TrustBundles;
  readonly lifetimeMs?: number;
  readonly maxTokenLifetimeMs?: number;
  readonly log?: Log;
}

export async function testIdentity(
  authority: Authority,
  path: string,
  options: TestIdentityOptions = {},
): Promise<RenewableIdentity> {
  const { bundles = new Map([[authority.trustDomain, [authority.certificate]]]), log = silentLog } = options;
  const holder = createHolder(log);
  const make = async (lifetimeMs = options.lifetimeMs ?? hourMs): Promise<X509Svid> => {
    const { certificate, privateKey } = await authority.issue([`spiffe://${authority.trustDomain}${path}`], { lifetimeMs });
    return makeSvid([certificate], privateKey, bundles);
  };
  holder.set(await make());
  const source = holder.source(() => {});
  const { maxTokenLifetimeMs = 600_000 } = options;
  return {
    ...identityOver(source, { clock: systemClock, maxTokenLifetimeMs }),
    renew: async (lifetimeMs) => holder.set(await make(lifetimeMs)),
  };
}
