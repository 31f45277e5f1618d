/** serve — an endpoint in one call: listens, registers, gives addresses, answers until it is closed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConnectionApi } from "../api.js";
import { MechanismType, Payload } from "../api.js";
import { backgroundCall, type Handler } from "../chain.js";
import { systemClock } from "../clock.js";
import { type Drain, drain, leaveConnections } from "../elements/drain.js";
import { expire } from "../elements/expire.js";
import { serialize } from "../elements/serialize.js";
import { type Connection, State } from "../gen/connection.js";
import { IPContext, type PolicyRoute } from "../gen/connectioncontext.js";
import { inodeUrl, openNetns, openOwnNetns } from "../linux/netns.js";
import { kernelParameter } from "../mechanisms/kernel.js";
import { createMonitorHub, type MonitorHub } from "../monitor/hub.js";
import { withSegment } from "../path.js";
import { type Policies, policiesFor } from "../policies/policies.js";
import { createHealth, type Health } from "../telemetry/health.js";
import { type Log, silentLog } from "../telemetry/log.js";
import { timestampOf } from "../timestamp.js";
import type { ServiceBinding } from "../transport/edge.js";
import { connectionService, healthService, type Inspect, inspectService, monitorService } from "../transport/services.js";
import { grpcTransport } from "../transport/transport.js";
import { parseRoutes } from "./add-routes.js";
import { endpointChain } from "./chain.js";
import { inspectEndpoint, leavingRegistry } from "./inspect-endpoint.js";
import { prefixGroups } from "./ipam/groups.js";
import type { Ipam } from "./ipam/ipam.js";
import { pointToPoint } from "./ipam/point-to-point.js";
import { enterRegistry, type Registered, registriesOf } from "./register.js";
import { type Memory, remember } from "./remember.js";
import type { ServeOptions, Serving } from "./serve-options.js";
import { stopWhenIdle } from "./stop-when-idle.js";
import { type Owner, tellOwner } from "./tell-owner.js";

export type { ServeOptions, Serving } from "./serve-options.js";
export type { ServedConnection } from "./tell-owner.js";

const defaultNsmgr = "unix:///var/lib/networkservicemesh/nsm.io.sock";
const defaultTokenLifetimeMs = 10 * 60_000;
/** Bounds of ending, in milliseconds. */
const drainMs = 2_000;
const dialTimeoutMs = 5_000;
const defaultDrainTimeoutMs = 5_000;

/**
 * Starts an endpoint. Resolves when it is registered; until the node manager answers it tries again.
 * @throws INVALID_ARGUMENT a CIDR, route, url or name is wrong; ALREADY_EXISTS the socket is served by another process;
 *         NOT_FOUND the namespace does not exist; PERMISSION_DENIED the name belongs to somebody else
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  options.signal.throwIfAborted();
  const stops: (() => void | Promise<void>)[] = [];
  const stop = once(async () => {
    for (const undo of stops.splice(0).reverse()) await undo();
  });
  try {
    return await start(options, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

type Stops = (() => void | Promise<void>)[];

async function start(options: ServeOptions, stops: Stops, stop: () => Promise<void>): Promise<Serving> {
  const { name, services, log = silentLog, clock = systemClock, payload = Payload.ETHERNET } = options;
  const { closed, ended } = ending();
  const end = (why: "closed" | "idle"): Promise<void> => stop().then(() => ended(why));
  const trust = await policiesFor(options.identity, options.policyMasks, { log, nowMs: clock.nowMs });
  stops.push(() => trust?.close());
  const answering = answer(options, trust, stops, () => void end("idle"));
  const health = createHealth();
  let registered: Registered | undefined;
  const drainable = leavingRegistry(answering.drain, () => registered);
  const transport = options.transport ?? grpcTransport;
  const listener = await transport.listen({
    urls: options.listenOn ?? [`unix://${ownFolder(stops)}/listen.sock`],
    services: servicesOf(answering, trust, health, inspectEndpoint(name, options.report, log, drainable)),
    identity: options.identity,
    log,
    signal: new AbortController().signal, // it is stopped in its turn, below
  });
  stops.push(() => listener.drain(drainMs));
  const url = listener.urls[0] ?? "";
  const dialer = transport.createDialer({ identity: options.identity, dialTimeoutMs, log });
  stops.push(() => dialer.close());

  const leaving = new AbortController();
  stops.push(() => leaving.abort());
  onAbort(options.signal, stops, () => void end("closed"));
  const nsmgr = options.nsmgr ?? defaultNsmgr;
  const entry = {
    name,
    url,
    services,
    labels: options.labels ?? {},
    payload,
    registerService: options.registerService ?? true,
    ...registriesOf(dialer, nsmgr, trust),
    log,
    clock,
    signal: leaving.signal,
    onSuperseded: () => void end("closed"),
  };
  registered = await enterRegistry(entry, options.signal);
  if (options.unregisterItself ?? true)
    stops.push(() => leaveConnections(drainable, { name, waitMs: options.drainTimeoutMs ?? defaultDrainTimeoutMs, log }));
  health.set("", true);
  stops.push(() => health.set("", false));
  log.info(`endpoint ${name} serves ${services.join(", ")}`, { url });
  return {
    name,
    url,
    closed,
    get connections() {
      return answering.owner.connections();
    },
    setPolicies: answering.setPolicies,
    refresh: answering.refresh,
    close: () => end("closed"),
  };
}

/** How and when it ended, for who waits. */
function ending(): { readonly closed: Promise<"closed" | "idle">; readonly ended: (why: "closed" | "idle") => void } {
  let ended: (why: "closed" | "idle") => void = () => {};
  const closed = new Promise<"closed" | "idle">((resolve) => {
    ended = resolve;
  });
  return { closed, ended };
}

interface Answering {
  readonly handler: Handler<ConnectionApi>;
  readonly hub: MonitorHub;
  readonly owner: Owner;
  readonly setPolicies: (policies: readonly PolicyRoute[]) => void;
  readonly refresh: () => void;
  readonly drain: Drain;
}

function servicesOf(
  { handler, hub }: Answering,
  trust: Policies | undefined,
  health: Health,
  inspect: Inspect,
): readonly ServiceBinding[] {
  return [
    connectionService(handler),
    monitorService(trust?.monitor(hub) ?? hub),
    healthService(health),
    inspectService(trust?.inspect(inspect) ?? inspect),
  ];
}

/** The endpoint without its sockets: what it says to a request. */
function answer(options: ServeOptions, trust: Policies | undefined, stops: Stops, onIdle: () => void): Answering {
  const { name, log = silentLog, clock = systemClock } = options;
  const ipam = pointToPoint(prefixGroups(options.cidrs), { policy: options.ipamPolicy ?? "polite" });
  const routes = parseRoutes(options.routes ?? []);
  const netns = options.netns === undefined ? openOwnNetns() : openNetns(options.netns);
  stops.push(() => netns.close());
  const netnsUrl = inodeUrl(netns);
  const memory = remember(options.stateDir, log);
  const restored = reserve(memory, ipam, log);
  const serializer = serialize({ log, restored, ownership: trust?.ownership });
  const timers = new AbortController();
  stops.push(() => timers.abort());
  const expiry = expire(clock, timers.signal);
  const hub = createMonitorHub();
  const owner = tellOwner(options.onConnection);
  const draining = drain({ name, connections: () => serializer.connections(), publish: hub.publish });
  const open = restored.map(({ id }) => id);
  const idle = stopWhenIdle({ endpoint: name, timeoutMs: options.idleTimeoutMs ?? 0, clock, open, onIdle });
  stops.push(() => idle.stop());
  let policies = options.policies ?? [];
  const maxTokenLifetimeMs = options.maxTokenLifetimeMs ?? defaultTokenLifetimeMs;
  const handler = endpointChain({
    name,
    services: options.services,
    payload: options.payload ?? Payload.ETHERNET,
    log,
    observer: options.observer,
    clock,
    serialize: serializer,
    expire: expiry,
    hub,
    drain: draining,
    tokens: { clock, maxTokenLifetimeMs, mintToken: options.identity?.mintToken },
    policies: trust,
    memory,
    idle,
    ipam,
    routes,
    policyRoutes: () => policies,
    dns: options.dns ?? [],
    mechanism: {
      types: options.mechanisms ?? [MechanismType.KERNEL, MechanismType.NOOP],
      netnsUrl,
    },
    customize: options.customize,
    owner,
  });
  for (const connection of restored) {
    // In another namespace than before the interface is missing: then nobody is told that the connection lives.
    if (connection.mechanism?.parameters[kernelParameter.netns] === netnsUrl) hub.publish(connection);
    expiry.arm(vouchedFor(connection, clock.nowMs() + maxTokenLifetimeMs), () => {
      handler.close(connection, backgroundCall(new AbortController().signal)).catch((error) => {
        log.warn("a connection of an earlier run was not closed", { connectionId: connection.id, error });
      });
    });
  }
  const refresh = (): void => {
    for (const connection of serializer.connections()) hub.publish({ ...connection, state: State.REFRESH_REQUESTED });
  };
  return {
    handler,
    hub,
    owner,
    refresh,
    drain: draining,
    setPolicies(next) {
      policies = next;
      refresh();
    },
  };
}

/** Takes the addresses of connections of an earlier run; one that no longer fits the pools is forgotten. */
function reserve(memory: Memory, ipam: Ipam, log: Log): Connection[] {
  return memory.restored.filter((connection) => {
    try {
      ipam.assign(connection.id, connection.context?.ip_context ?? IPContext.fromPartial({}));
      return true;
    } catch (error) {
      log.warn("a connection of an earlier run does not fit the pools any more", { connectionId: connection.id, error });
      memory.forget(connection.id);
      return false;
    }
  });
}

/** The times in a kept path are old; the client gets as long to come back as a token would have lived. */
function vouchedFor(connection: Connection, untilMs: number): Connection {
  const previous = (connection.path?.index ?? 0) - 1;
  return withSegment(connection, previous, (segment) => ({ ...segment, expires: timestampOf(untilMs) }));
}

/** A folder that goes with the endpoint; short, because a socket path has 107 bytes at most. */
function ownFolder(stops: Stops): string {
  const folder = mkdtempSync(join(tmpdir(), "weft-endpoint-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function onAbort(signal: AbortSignal, stops: Stops, action: () => void): void {
  signal.addEventListener("abort", action);
  stops.push(() => signal.removeEventListener("abort", action));
}

function once(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= run();
    return running;
  };
}
