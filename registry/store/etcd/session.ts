/**
 * The lease of this replica at etcd. Endpoints hang on it, so that they go when no registry is left to end their own
 * leases; it is far longer than those. Each refresh moves an endpoint to the replica it came through.
 */
import { systemClock } from "../../../sdk/clock.js";
import { pause } from "../../../sdk/registry/pause.js";
import { Code, isStatusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { EtcdClient } from "./client.js";

const lifetimeSeconds = 3_600;
const refreshMs = 60_000;

export interface Session {
  /** The lease's id; makes one when there is none. */
  id(): Promise<string>;
  /** etcd does not know it (any more): the next `id` makes another. */
  lost(id: string): void;
  close(): Promise<void>;
}

export function openSession(client: EtcdClient, log: Log): Session {
  const stopped = new AbortController();
  let lease: Promise<string> | undefined;

  async function grant(): Promise<string> {
    const { answer } = await client.call<{ ID: string }>("/v3/lease/grant", { TTL: String(lifetimeSeconds) });
    return answer.ID;
  }

  async function keepAlive(): Promise<void> {
    while (await pause(systemClock, refreshMs, stopped.signal)) {
      const id = await lease?.catch(() => undefined);
      if (id === undefined) continue;
      try {
        const { answer } = await client.call<{ result?: { TTL?: string } }>("/v3/lease/keepalive", { ID: id });
        if (answer.result?.TTL === undefined) lease = undefined;
      } catch (error) {
        log.debug("the lease at etcd could not be refreshed; trying again", { error });
      }
    }
  }

  const running = keepAlive();
  return {
    id() {
      lease ??= grant().catch((error: unknown) => {
        lease = undefined;
        throw error;
      });
      return lease;
    },
    lost() {
      lease = undefined;
    },
    async close() {
      stopped.abort();
      await running;
    },
  };
}

/** Is it what etcd says to a put with a lease that it does not know (etcdserver/api/v3rpc/rpctypes/error.go)? */
export function isLeaseUnknown(error: unknown): boolean {
  return isStatusError(error) && error.code === Code.NOT_FOUND && error.details.includes("lease not found");
}
