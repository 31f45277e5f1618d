/** Where the identity of a process comes from: an SVID that is replaced while the process runs. */
import type { Log } from "../telemetry/log.js";
import type { X509Svid } from "./svid.js";

export interface IdentitySource {
  /** The newest one. It may have expired, when nobody has renewed it: peers then refuse it. */
  current(): X509Svid;
  /** Tells of each new one (other certificate, key or bundles). The result ends that. */
  onChange(listener: (svid: X509Svid) => void): () => void;
  /** Stops renewing; the last one stays. */
  close(): void;
}

export interface SourceOptions {
  readonly log: Log;
  /** Ends the wait for the first SVID; afterwards `close` of the source ends it. */
  readonly signal: AbortSignal;
}

/** The part that all sources share: the newest SVID and who wants to hear of it. */
export interface Holder {
  readonly first: Promise<X509Svid>;
  set(svid: X509Svid): void;
  source(close: () => void): IdentitySource;
}

export function createHolder(log: Log): Holder {
  const listeners = new Set<(svid: X509Svid) => void>();
  let newest: X509Svid | undefined;
  let tellFirst: (svid: X509Svid) => void = () => {};
  const first = new Promise<X509Svid>((resolve) => {
    tellFirst = resolve;
  });
  return {
    first,
    set(svid) {
      if (newest !== undefined && fingerprint(newest) === fingerprint(svid)) return;
      log.info(newest === undefined ? "identity obtained" : "identity renewed", {
        spiffeId: svid.id.id,
        until: new Date(svid.notAfterMs).toISOString(),
        trusts: [...svid.bundles.keys()],
      });
      newest = svid;
      tellFirst(svid);
      for (const listener of [...listeners]) listener(svid);
    },
    source: (close) => ({
      current() {
        if (newest === undefined) throw new Error("an identity source was used before its first SVID");
        return newest;
      },
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      close,
    }),
  };
}

/** Equal for equal certificates and bundles; a key belongs to its certificate. */
function fingerprint(svid: X509Svid): string {
  const own = svid.certificates.map((certificate) => certificate.fingerprint256);
  const trusted = [...svid.bundles].map(([domain, authorities]) => [
    domain,
    ...authorities.map((certificate) => certificate.fingerprint256),
  ]);
  return JSON.stringify([own, trusted.sort()]);
}

/** Waits for the first SVID, or until `signal` aborts. */
export async function firstOf(holder: Holder, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let cut: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    cut = () => reject(signal.reason);
    signal.addEventListener("abort", cut, { once: true });
  });
  try {
    await Promise.race([holder.first, aborted]);
  } finally {
    signal.removeEventListener("abort", cut);
  }
}
