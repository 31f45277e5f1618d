/**
 * What a tenant that is refused again and again may still cost: so many of its calls a second are looked at, and the rest
 * are refused by the name of the peer alone, later and later, before anything of them is read. Whoever waits for the answer
 * before it asks again is slowed down to that rate. What is served costs none of it. No clock inside: it is asked.
 */
export interface Patience {
  /** A request of this tenant was refused after it had been looked at. */
  refused(tenant: string): void;
  /** One was let in. */
  served(tenant: string): void;
  /** How long the refusal of a call is to wait, in milliseconds; undefined = the call is looked at. */
  holdMs(tenant: string): number | undefined;
}

/** Looks at a tenant that has been refused, per second and at once. */
const perS = 40;
const burst = 40;
/** The longest wait, in milliseconds. */
const longestMs = 1_000;
const maxTenants = 10_000;

interface Bucket {
  looks: number;
  /** Refusals unseen, of which so many a second are forgotten. */
  unseen: number;
  filledMs: number;
}

export function createPatience(nowMs: () => number): Patience {
  /** Of tenants that have been refused; a full one is as good as none. */
  const buckets = new Map<string, Bucket>();

  function bucketOf(tenant: string): Bucket | undefined {
    const bucket = buckets.get(tenant);
    if (bucket === undefined) return undefined;
    const now = nowMs();
    const more = (Math.max(0, now - bucket.filledMs) / 1000) * perS;
    bucket.looks = Math.min(burst, bucket.looks + more);
    bucket.unseen = Math.max(0, bucket.unseen - more);
    bucket.filledMs = now;
    if (bucket.looks < burst || bucket.unseen > 0) return bucket;
    buckets.delete(tenant);
    return undefined;
  }

  return {
    refused(tenant) {
      if (bucketOf(tenant) !== undefined) return;
      if (buckets.size >= maxTenants) for (const name of buckets.keys()) bucketOf(name);
      buckets.set(tenant, { looks: burst - 1, unseen: 0, filledMs: nowMs() });
    },
    served(tenant) {
      const bucket = bucketOf(tenant);
      if (bucket !== undefined) bucket.looks++;
    },
    holdMs(tenant) {
      const bucket = bucketOf(tenant);
      if (bucket === undefined) return undefined;
      if (bucket.looks >= 1) {
        bucket.looks--;
        return undefined;
      }
      bucket.unseen = Math.min(bucket.unseen + 1, (longestMs / 1000) * perS);
      return Math.ceil((bucket.unseen / perS) * 1000);
    },
  };
}
