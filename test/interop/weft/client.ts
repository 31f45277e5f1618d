/** A client made with the SDK, as its users make one. Commands: monitor, close. */
import type { Interface } from "node:readline";
import { type ClientConnection, connect } from "../../../sdk/client/connect.js";
import { MonitorScopeSelector } from "../../../sdk/gen/connection.js";
import { createLog } from "../../../sdk/telemetry/log.js";
import { createDialer, type Dialer } from "../../../sdk/transport/dial.js";
import { described, emit, emitMonitored } from "./emit.js";
import { workloadIdentity } from "./identity.js";

const dialTimeoutMs = 5_000;
const requestTimeoutMs = 5_000;
const lookEveryMs = 50;
const millisecondsPerSecond = 1_000;

export async function runClient(
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
  commands: Interface,
): Promise<number> {
  const name = env["NSM_NAME"] ?? "";
  const id = env["INTEROP_ID"] ?? "";
  const nsmgr = env["NSM_CONNECT_TO"] ?? "";
  const maxTokenLifetimeMs = Number.parseInt(env["NSM_MAX_TOKEN_LIFETIME"] ?? "", 10) * millisecondsPerSecond;
  const log = createLog({ name, level: "warn" });
  const identity = await workloadIdentity(env, { log, signal }, maxTokenLifetimeMs);
  const dialer = createDialer({ identity, log, dialTimeoutMs });
  const told: string[] = [];
  const tell = (line: string): void => void told.push(line);
  commands.on("line", tell);
  const connection = await connect({
    url: serviceUrl(env),
    name,
    id,
    nsmgr,
    identity,
    dialer,
    liveness: false,
    requestTimeoutMs,
    maxTokenLifetimeMs,
    log,
    signal,
  });
  emit("connected", described(connection.connection));
  const stopLooking = tellOfGrants(connection);
  commands.off("line", tell);
  const act = (command: string): void => {
    if (command === "close") void connection.close().then(() => emit("closed"), fail("closed"));
    if (command === "monitor") void monitor(dialer, nsmgr, connection.connection.id, signal);
  };
  told.forEach(act);
  commands.on("line", act);
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  stopLooking();
  await connection.close();
  dialer.close();
  identity?.close();
  return 0;
}

function serviceUrl(env: Readonly<Record<string, string | undefined>>): string {
  const { INTEROP_MECHANISM: mechanism = "KERNEL", INTEROP_SERVICE: service = "" } = env;
  return mechanism === "KERNEL" ? `kernel://${service}/nsm-1?app=interop` : `${mechanism.toLowerCase()}://${service}?app=interop`;
}

/** Every answer brings new expiry times. */
function tellOfGrants(connection: ClientConnection): () => void {
  let last = connection.connection;
  const timer = setInterval(() => {
    if (connection.connection === last) return;
    last = connection.connection;
    emit("granted", described(last));
  }, lookEveryMs);
  return () => clearInterval(timer);
}

async function monitor(dialer: Dialer, url: string, id: string, signal: AbortSignal): Promise<void> {
  try {
    const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ id }] });
    for await (const event of dialer.monitor(url, selector, signal)) emitMonitored(event);
    emit("monitor-ended", { error: "" });
  } catch (error) {
    fail("monitor-ended")(error);
  }
}

function fail(event: string): (error: unknown) => void {
  return (error) => emit(event, { error: error instanceof Error ? error.message : String(error) });
}
