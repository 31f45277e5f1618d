/** A server and dialers with identities, for tests of the TLS between them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { CallContext } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import type { Identity } from "../identity/identity.js";
import { createMonitorHub } from "../monitor/hub.js";
import { type Code, isStatusError } from "../status.js";
import { createLog, type Log, silentLog } from "../telemetry/log.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { type Listener, listen } from "../transport/listen.js";
import { connectionService, monitorService } from "../transport/services.js";
import { type Cleanup, temporaryFolder } from "./test-server.js";

const never = new AbortController().signal;
export const limit = () => ({ signal: AbortSignal.timeout(10_000) });
export const request = NetworkServiceRequest.fromPartial({ connection: { id: "c-1" } });

export interface TlsServer {
  readonly urls: readonly string[];
  readonly seen: CallContext[];
  readonly lines: string[];
  readonly hub: ReturnType<typeof createMonitorHub>;
  readonly listener: Listener;
}

export async function serveWith(t: Cleanup, identity: Identity | undefined, answerAfter = Promise.resolve()): Promise<TlsServer> {
  const seen: CallContext[] = [];
  const lines: string[] = [];
  const log = createLog({ name: "server", level: "info", destination: { write: (line: string) => lines.push(line) } });
  const hub = createMonitorHub();
  const listener = await listen({
    urls: [`unix://${join(temporaryFolder(t), "x.sock")}`, "tcp://127.0.0.1:0"],
    services: [
      connectionService({
        async request({ connection }, context) {
          seen.push(context);
          await answerAfter;
          return connection ?? Connection.fromPartial({});
        },
        close: async () => {},
      }),
      monitorService(hub),
    ],
    identity,
    log,
    signal: never,
  });
  t.after(() => listener.drain(0));
  return { urls: listener.urls, seen, lines, hub, listener };
}

export function dialWith(t: Cleanup, identity: Identity | undefined, log: Log = silentLog): Dialer {
  const dialer = createDialer({ identity, dialTimeoutMs: 5_000, log });
  t.after(() => dialer.close());
  return dialer;
}

export async function codeOf(work: Promise<unknown>): Promise<{ code: Code; details: string }> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (error: unknown) => error,
  );
  assert.ok(isStatusError(error), String(error));
  return error;
}
