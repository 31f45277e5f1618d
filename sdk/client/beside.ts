/**
 * Make before break: a second connection of the same wish, under another id and another interface name, made and probed while
 * the first one carries the packets. To the mesh it is a connection like any other, so this works with every node manager.
 */
import type { ConnectionApi } from "../api.js";
import { backgroundCall, type Handler } from "../chain.js";
import type { Connection } from "../gen/connection.js";
import { generateInterfaceName } from "../mechanisms/interface-name.js";
import { sharedParameter, withParameters } from "../mechanisms/parameters.js";
import { Code, statusError } from "../status.js";
import type { LivenessCheck } from "./liveness.js";
import { firstRequest, type Wish } from "./requests.js";

const idSuffix = "-b";
const closeTimeoutMs = 5_000;

/** Two connections take turns under these two ids, so that a restarted client finds whichever it had. */
export function siblingId(baseId: string, currentId: string): string {
  return currentId === baseId ? `${baseId}${idSuffix}` : baseId;
}

/** What both ids have in common. */
export function baseIdOf(id: string): string {
  return id.replace(/(-b)+$/, "");
}

/** The wish under the other id, with an interface name that stands beside the first one's. */
export function wishBeside(wish: Wish, baseId: string): Wish {
  const id = siblingId(baseId, wish.id);
  const name = generateInterfaceName("move", id);
  return { ...wish, id, mechanism: withParameters(wish.mechanism, { [sharedParameter.name]: name }) };
}

/** The connection as it is, with the interface name that was wished for: what the next refresh asks for. */
export function renamed(connection: Connection, interfaceName: string): Connection {
  const { mechanism } = connection;
  if (mechanism === undefined) return connection;
  return { ...connection, mechanism: withParameters(mechanism, { [sharedParameter.name]: interfaceName }) };
}

/** Name of the interface that a mechanism is for; undefined: it has none. */
export function interfaceOf(mechanism: Connection["mechanism"]): string | undefined {
  return mechanism?.parameters[sharedParameter.name];
}

export interface BesideOptions {
  readonly wish: Wish;
  readonly handler: Handler<ConnectionApi>;
  /** How to see packets on it; undefined: it is believed. */
  readonly check: ((connection: Connection) => LivenessCheck | undefined) | undefined;
  readonly netnsUrl: string | undefined;
  readonly intervalMs: number;
  /** How long it may take until packets pass. */
  readonly verifyMs: number;
  readonly requestTimeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Makes the second connection and sees packets pass; what fails leaves nothing.
 * @throws the mesh's refusal; UNAVAILABLE when no packet comes back in time
 */
export async function makeBeside(options: BesideOptions): Promise<Connection> {
  const { wish, handler, requestTimeoutMs } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(requestTimeoutMs)]);
  const connection = await handler.request(firstRequest(wish), {
    ...backgroundCall(signal),
    deadlineMs: Date.now() + requestTimeoutMs,
  });
  try {
    if (await passes(connection, options)) return connection;
    const text = `no packet came back from ${connection.network_service_endpoint_name} within ${options.verifyMs} ms`;
    throw statusError(Code.UNAVAILABLE, `the new path is not taken: ${text}`);
  } catch (error) {
    await closeQuietly(handler, connection);
    throw error;
  }
}

async function passes(connection: Connection, options: BesideOptions): Promise<boolean> {
  const check = options.check?.(connection);
  if (check === undefined) return true;
  const { netnsUrl, intervalMs, verifyMs, signal } = options;
  const interfaceName = connection.mechanism?.parameters[sharedParameter.name];
  try {
    return await check(connection, { netnsUrl, intervalMs, timeoutMs: verifyMs, interfaceName, signal });
  } catch {
    signal.throwIfAborted();
    // It cannot tell, as it cannot of the first one; the reports of the control plane must do.
    return true;
  }
}

/** Gives a connection back; hops that do not hear of it let it expire. */
export async function closeQuietly(handler: Handler<ConnectionApi>, connection: Connection): Promise<unknown> {
  const signal = AbortSignal.timeout(closeTimeoutMs);
  try {
    await handler.close(connection, { ...backgroundCall(signal), deadlineMs: Date.now() + closeTimeoutMs });
    return undefined;
  } catch (error) {
    return error;
  }
}
