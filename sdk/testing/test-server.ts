/** A server of its own for each transport test; all that it opens goes with the test. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConnectionApi } from "../api.js";
import type { Handler } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { createMonitorHub, type MonitorHub } from "../monitor/hub.js";
import { silentLog } from "../telemetry/log.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { type Limits, type Listener, listen } from "../transport/listen.js";
import { connectionService, monitorService } from "../transport/services.js";

/** The part of a test's context that is needed here. */
export interface Cleanup {
  after(action: () => void | Promise<void>): void;
}

export interface TestServer {
  readonly url: string;
  readonly path: string;
  readonly dialer: Dialer;
  readonly hub: MonitorHub;
  readonly listener: Listener;
}

/** Answers requests with their connection, unless `handler` knows better; and monitors. */
export async function startTestServer(
  t: Cleanup,
  handler: Partial<Handler<ConnectionApi>> = {},
  limits: Partial<Limits> = {},
): Promise<TestServer> {
  const folder = temporaryFolder(t);
  const path = join(folder, "x.sock");
  const hub = createMonitorHub();
  const echo: Handler<ConnectionApi> = {
    request: async ({ connection }) => connection ?? Connection.fromPartial({}),
    close: async () => {},
    ...handler,
  };
  const listener = await listen({
    urls: [`unix://${path}`],
    services: [connectionService(echo), monitorService(hub)],
    log: silentLog,
    limits,
    signal: new AbortController().signal,
  });
  const dialer = createDialer({ dialTimeoutMs: 2000 });
  t.after(async () => {
    dialer.close();
    await listener.drain(0);
  });
  return { url: `unix://${path}`, path, dialer, hub, listener };
}

export function temporaryFolder(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), "weft-hostile-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Passes bytes to a server until it is frozen: then connections stay open and nothing moves, as with a dead machine. */
export async function startRelay(t: Cleanup, from: string, to: string): Promise<{ freeze(): void }> {
  let frozen = false;
  const sockets: Socket[] = [];
  const server = createServer((near) => {
    sockets.push(near);
    near.on("error", () => {});
    if (frozen) return;
    const far = connect({ path: to });
    sockets.push(far);
    far.on("error", () => {});
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(from, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}
