/** Connections that are opened, refreshed at a steady pace, and closed. */
import { setTimeout as pause } from "node:timers/promises";
import type { Connection } from "../sdk/gen/connection.js";
import { requestFor, type Target, totalCpuMs } from "./control-plane-load.js";

const callMs = 30_000;
/** Together under way while they are opened and closed. */
const atOnce = 32;

const call = ({ headers }: Target) => ({
  signal: AbortSignal.timeout(callMs),
  deadlineMs: Date.now() + callMs,
  ...(headers !== undefined && { metadata: headers() }),
});

export async function openMany(target: Target, count: number): Promise<Connection[]> {
  const open: Connection[] = [];
  while (open.length < count) {
    const some = Array.from({ length: Math.min(atOnce, count - open.length) }, () =>
      target.client.request(requestFor(undefined), call(target)),
    );
    open.push(...(await Promise.all(some)));
  }
  return open;
}

export async function closeAll(target: Target, live: readonly Connection[]): Promise<void> {
  for (let at = 0; at < live.length; at += atOnce) {
    await Promise.all(live.slice(at, at + atOnce).map((connection) => target.client.close(connection, call(target))));
  }
}

/** Each once, some together: what a refresh runs through has been compiled then, as in a mesh that has lived for minutes. */
export async function refreshEach(target: Target, live: Connection[]): Promise<void> {
  for (let at = 0; at < live.length; at += 8) {
    const some = live.slice(at, at + 8).map((connection) => target.client.request(requestFor(connection), call(target)));
    live.splice(at, some.length, ...(await Promise.all(some)));
  }
}

/** Refreshes them in turn at a steady pace; the part of a core that all servers use. */
export async function refreshFor(target: Target, live: Connection[], perSecond: number, ms: number): Promise<number> {
  const before = totalCpuMs(target.servers);
  const startedMs = performance.now();
  for (let done = 0; performance.now() - startedMs < ms; done++) {
    const index = done % live.length;
    live[index] = await target.client.request(requestFor(live[index]), call(target));
    await pause(Math.max(0, startedMs + ((done + 1) * 1000) / perSecond - performance.now()));
  }
  return (totalCpuMs(target.servers) - before) / (performance.now() - startedMs);
}
