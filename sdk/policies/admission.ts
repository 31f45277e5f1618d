/**
 * Fair admission between tenants (identities): a rate, a number at once and a quota for each, so that the storm of one
 * leaves the others what they need. Who waits is let in one tenant after the other, and what exists (refresh, heal) before
 * what is new. No clock or socket inside: time is asked for only when somebody enters.
 */
import { Code, type StatusError, statusError } from "../status.js";
import { withRetryHint } from "../transport/edge-status.js";
import { createPatience } from "./patience.js";
import { createShare } from "./share.js";

export interface AdmissionLimits {
  /** New things a tenant may ask for, per second; 0 = no bound. What exists costs a quarter. */
  readonly ratePerS: number;
  /** How many may come at once after a quiet time. */
  readonly burst: number;
  /** Requests of one tenant under way. */
  readonly perTenant: number;
  /** Requests of all tenants under way. */
  readonly total: number;
  /** Things that one tenant may have; 0 = no bound. */
  readonly quota: number;
  /** Requests of one tenant that may wait; who is beyond hears at once that it is too much. Default 256. */
  readonly waiting?: number | undefined;
}

export interface Entering {
  readonly tenant: string;
  /** What is asked for exists already, here or behind us: a refresh or a heal. It goes first. */
  readonly isKnown: boolean;
  /** How many things the tenant has now without this one; undefined = this one is counted already. */
  readonly held: number | undefined;
  readonly signal: AbortSignal;
}

export interface Admission {
  /**
   * Waits for its turn.
   * @returns ends the stay
   * @throws RESOURCE_EXHAUSTED with a hint when to try again; the reason of the signal when it aborts while waiting
   */
  enter(entering: Entering): Promise<() => void>;
  /** How long the refusal of a call of this tenant is to wait, unseen, in milliseconds; undefined = it may enter. */
  holdMs(tenant: string): number | undefined;
}

interface Tenant {
  tokens: number;
  filledMs: number;
  underWay: number;
  newUnderWay: number;
  waiting: number;
}

type Waiting = () => void;
/** By tenant, in the order of their turns. */
type Line = Map<string, Waiting[]>;

const knownCost = 0.25;
const defaultWaiting = 256;
/** A quota is not free again soon. */
const quotaRetryMs = 10_000;
const busyRetryMs = 1_000;

/** What new requests may take of a number of places: new ones that wait for something dead leave room for those that heal. */
const withoutReserve = (places: number): number => places - Math.floor(places / 4);

/** @param utilization  as of share.ts; default: the process always has time */
export function createAdmission(limits: AdmissionLimits, nowMs: () => number, utilization = () => 0): Admission {
  const patience = createPatience(nowMs);
  const maxWaiting = limits.waiting ?? defaultWaiting;
  const share = createShare({ nowMs, utilization, most: limits.perTenant });
  const tenants = new Map<string, Tenant>();
  const lines: readonly [known: Line, fresh: Line] = [new Map(), new Map()];
  let underWay = 0;

  function tenantOf(name: string): Tenant {
    let tenant = tenants.get(name);
    if (tenant === undefined) {
      tenant = { tokens: limits.burst, filledMs: nowMs(), underWay: 0, newUnderWay: 0, waiting: 0 };
      tenants.set(name, tenant);
      if (tenants.size > 10_000) forgetIdle();
    }
    return tenant;
  }

  /** A tenant whose bucket is full again is as good as unknown. */
  function forgetIdle(): void {
    for (const [name, tenant] of tenants) {
      fill(tenant);
      if (tenant.underWay + tenant.waiting === 0 && tenant.tokens >= limits.burst) tenants.delete(name);
    }
  }

  function fill(tenant: Tenant): void {
    const now = nowMs();
    const grown = tenant.tokens + ((now - tenant.filledMs) / 1000) * limits.ratePerS;
    Object.assign(tenant, { tokens: Math.min(limits.burst, Math.max(0, grown)), filledMs: now });
  }

  function check(tenant: Tenant, { isKnown, held, tenant: name }: Entering): void {
    if (held !== undefined && limits.quota > 0 && held + tenant.newUnderWay >= limits.quota) {
      throw exhausted(`"${name}" has ${held} of at most ${limits.quota} here; give some back`, quotaRetryMs);
    }
    if (tenant.waiting >= maxWaiting) throw exhausted(`${maxWaiting} requests of "${name}" wait here`, busyRetryMs);
    if (limits.ratePerS === 0) return;
    fill(tenant);
    const cost = isKnown ? knownCost : 1;
    if (tenant.tokens < cost) {
      const inMs = Math.ceil(((cost - tenant.tokens) / limits.ratePerS) * 1000);
      throw exhausted(`"${name}" asks for more than ${limits.ratePerS} a second; try again in ${inMs} ms`, inMs);
    }
    tenant.tokens -= cost;
  }

  const hasRoom = (name: string, tenant: Tenant, isKnown: boolean): boolean => {
    // asked in any case: whoever heals is here as well
    const most = Math.min(share.most(name), withoutReserve(limits.perTenant));
    if (isKnown) return underWay < limits.total && tenant.underWay < limits.perTenant;
    return underWay < withoutReserve(limits.total) && tenant.underWay < most;
  };

  function letIn(tenant: Tenant): void {
    underWay++;
    tenant.underWay++;
  }

  /** The next of those who wait: what exists first, then one tenant after the other. */
  function next(): void {
    for (const [place, line] of lines.entries()) {
      for (const [name, queue] of line) {
        if (underWay >= limits.total) return;
        const tenant = tenantOf(name);
        if (!hasRoom(name, tenant, place === 0)) continue;
        const start = queue.shift();
        line.delete(name);
        // behind the others, for the next turn
        if (queue.length > 0) line.set(name, queue);
        start?.();
        return;
      }
    }
  }

  function standInLine(name: string, tenant: Tenant, isKnown: boolean, signal: AbortSignal): Promise<void> {
    const line = lines[isKnown ? 0 : 1];
    const queue = line.get(name) ?? [];
    line.set(name, queue);
    tenant.waiting++;
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener("abort", leave);
        tenant.waiting--;
        letIn(tenant);
        resolve();
      };
      const leave = (): void => {
        tenant.waiting--;
        queue.splice(queue.indexOf(start), 1);
        if (queue.length === 0 && line.get(name) === queue) line.delete(name);
        reject(signal.reason);
      };
      queue.push(start);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  return {
    async enter(entering) {
      const { tenant: name, isKnown, signal } = entering;
      signal.throwIfAborted();
      const tenant = tenantOf(name);
      try {
        check(tenant, entering);
      } catch (error) {
        patience.refused(name);
        throw error;
      }
      patience.served(name);
      const isCounted = entering.held === undefined;
      if (!isCounted) tenant.newUnderWay++;
      const left = (): void => {
        if (!isCounted) tenant.newUnderWay--;
      };
      if (hasRoom(name, tenant, isKnown)) letIn(tenant);
      else
        await standInLine(name, tenant, isKnown, signal).catch((error: unknown) => {
          left();
          throw error;
        });
      return () => {
        left();
        underWay--;
        tenant.underWay--;
        next();
      };
    },
    holdMs: patience.holdMs,
  };
}

function exhausted(why: string, retryMs: number): StatusError {
  return withRetryHint(statusError(Code.RESOURCE_EXHAUSTED, `too much at once: ${why}`), retryMs);
}
