/**
 * passthrough — a function in the middle of a chain: an endpoint towards the client, a client towards the next function.
 * It gives no addresses: its two interfaces (or memif sockets) are the ends of a wire, and what happens between them is the author's.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MechanismType, Payload } from "../api.js";
import type { ChainObserver } from "../chain.js";
import { defaultNodeManagerUrl } from "../client/connect.js";
import { type Clock, systemClock } from "../clock.js";
import { drain, leaveConnections } from "../elements/drain.js";
import { expire } from "../elements/expire.js";
import { serialize } from "../elements/serialize.js";
import { inspectEndpoint, leavingRegistry } from "../endpoint/inspect-endpoint.js";
import { enterRegistry, type Registered, registriesOf } from "../endpoint/register.js";
import type { Fact } from "../gen/inspect.js";
import type { Identity } from "../identity/identity.js";
import { inodeUrl, openNetns, openOwnNetns } from "../linux/netns.js";
import { createMonitorHub } from "../monitor/hub.js";
import { watchNeighbours } from "../monitor/neighbours.js";
import { type Policies, policiesFor } from "../policies/policies.js";
import type { PolicyMasks } from "../policies/settings.js";
import { createHealth } from "../telemetry/health.js";
import { type Log, silentLog } from "../telemetry/log.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { listen } from "../transport/listen.js";
import { connectionService, healthService, inspectService, monitorService } from "../transport/services.js";
import { passthroughChain } from "./chain.js";
import { standBetween } from "./stand-between.js";
import { type OnWire, tellOwnerOfWire, type Wire } from "./tell-owner-of-wire.js";

export type { Wire } from "./tell-owner-of-wire.js";

/** What the author of a function says about it. Only `name`, `services` and `signal` must be there. */
export interface PassthroughOptions {
  /** The function's name in the registry, unique in the domain. */
  readonly name: string;
  /** Network services of whose chain it is a part. */
  readonly services: readonly string[];
  /** Aborting it is `close()`. */
  readonly signal: AbortSignal;
  /** Labels by which a service selects this function; also the labels of its own request, if `next` gives none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Who comes next. Default: the service that was asked for, by our labels. */
  readonly next?: { readonly service?: string; readonly labels?: Readonly<Record<string, string>> };
  /** Joins the two interfaces of a connection; what it throws refuses the connection. */
  readonly onConnection?: OnWire;
  /** The node manager; default unix:///var/lib/networkservicemesh/nsm.io.sock. */
  readonly nsmgr?: string;
  /** Where to listen; default: a unix socket in a folder of its own. The first url is registered. */
  readonly listenOn?: readonly string[];
  /** Network namespace that gets the interfaces, by name or URL; default: our own. */
  readonly netns?: string;
  /** Default ETHERNET. */
  readonly payload?: Payload;
  /** How the function is reached: KERNEL (default), MEMIF, or both. It reaches the next function by the same one. */
  readonly mechanisms?: readonly MechanismType[];
  /** Enters the services into the registry where they are missing; default true. */
  readonly registerService?: boolean;
  /** Takes the function out of the registry at the end; default true. */
  readonly unregisterItself?: boolean;
  /** How long it waits at the end for its connections to be made elsewhere, in milliseconds; default 5,000. */
  readonly drainTimeoutMs?: number;
  /** Facts shown to operators (`weft describe`). */
  readonly report?: () => Promise<readonly Fact[]>;
  readonly log?: Log;
  readonly observer?: ChainObserver;
  readonly clock?: Clock;
  /** How long we vouch for a connection, in milliseconds; default 10 minutes. */
  readonly maxTokenLifetimeMs?: number;
  /** Absent = plain text, and whoever reaches the socket is served; see identityFromEnvironment. */
  readonly identity?: Identity | undefined;
  /** What is demanded of callers when there is an identity; default: upstream's policies. */
  readonly policyMasks?: Partial<PolicyMasks>;
}

/** A running function in the middle of a chain. */
export interface Passthrough {
  readonly name: string;
  /** The url that is registered. */
  readonly url: string;
  readonly wires: readonly Wire[];
  readonly closed: Promise<void>;
  /** Leaves the registry, then stops answering. */
  close(): Promise<void>;
}

/** Bounds of ending, in milliseconds. */
const drainMs = 2_000;
const defaultDrainTimeoutMs = 5_000;
const dialTimeoutMs = 5_000;

type Stops = (() => void | Promise<void>)[];

/**
 * Starts the function. Resolves when it is registered; until the node manager answers it tries again.
 * @throws as `serve`
 */
export async function passthrough(options: PassthroughOptions): Promise<Passthrough> {
  options.signal.throwIfAborted();
  const stops: Stops = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const undo of stops.splice(0).reverse()) await undo();
    })();
    return stopping;
  };
  try {
    return await start(options, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(options: PassthroughOptions, stops: Stops, stop: () => Promise<void>): Promise<Passthrough> {
  const { name, services, log = silentLog, clock = systemClock, payload = Payload.ETHERNET } = options;
  const dialer = createDialer({ identity: options.identity, dialTimeoutMs, log });
  stops.push(() => dialer.close());
  const trust = await policiesFor(options.identity, options.policyMasks, { log, nowMs: clock.nowMs });
  stops.push(() => trust?.close());
  const { handler, hub, wires, draining } = answer(options, trust, dialer, stops);
  let registered: Registered | undefined;
  const drainable = leavingRegistry(draining, () => registered);
  const inspect = inspectEndpoint(name, options.report, log, drainable);
  const health = createHealth();
  const listener = await listen({
    urls: options.listenOn ?? [`unix://${ownFolder(stops)}/listen.sock`],
    services: [
      connectionService(handler),
      monitorService(trust?.monitor(hub) ?? hub),
      healthService(health),
      inspectService(trust?.inspect(inspect) ?? inspect),
    ],
    identity: options.identity,
    log,
    signal: new AbortController().signal, // it is stopped in its turn, below
  });
  stops.push(() => listener.drain(drainMs));
  const url = listener.urls[0] ?? "";
  const { closed, close } = closing(stop);
  const leaving = new AbortController();
  stops.push(() => leaving.abort());
  onAbort(options.signal, stops, () => void close());
  const nsmgr = options.nsmgr ?? defaultNodeManagerUrl;
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
    onSuperseded: () => void close(),
  };
  registered = await enterRegistry(entry, options.signal);
  if (options.unregisterItself ?? true)
    stops.push(() => leaveConnections(drainable, { name, waitMs: options.drainTimeoutMs ?? defaultDrainTimeoutMs, log }));
  health.set("", true);
  stops.push(() => health.set("", false));
  log.info(`function ${name} stands in ${services.join(", ")}`, { url });
  return {
    name,
    url,
    closed,
    close,
    get wires() {
      return wires.wires();
    },
  };
}

function onAbort(signal: AbortSignal, stops: Stops, action: () => void): void {
  signal.addEventListener("abort", action);
  stops.push(() => signal.removeEventListener("abort", action));
}

function closing(stop: () => Promise<void>): { readonly closed: Promise<void>; readonly close: () => Promise<void> } {
  let settleClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    settleClosed = resolve;
  });
  return { closed, close: () => stop().then(settleClosed) };
}

/** The function without its sockets: what it says to a request. */
function answer(options: PassthroughOptions, trust: Policies | undefined, dialer: Dialer, stops: Stops) {
  const { name, log = silentLog, clock = systemClock, labels = {} } = options;
  const netns = options.netns === undefined ? openOwnNetns() : openNetns(options.netns);
  stops.push(() => netns.close());
  const netnsUrl = inodeUrl(netns);
  const nsmgr = options.nsmgr ?? defaultNodeManagerUrl;
  const between = standBetween({ service: options.next?.service, labels: options.next?.labels ?? labels, nsmgr, netnsUrl });
  const hub = createMonitorHub();
  const serializer = serialize({ log, ownership: trust?.ownership });
  const draining = drain({ name, connections: () => serializer.connections(), publish: hub.publish });
  const watching = new AbortController();
  stops.push(() => watching.abort());
  const wires = tellOwnerOfWire(between, options.onConnection ?? (() => {}));
  const handler = passthroughChain({
    name,
    services: options.services,
    payload: options.payload ?? Payload.ETHERNET,
    mechanisms: options.mechanisms ?? [MechanismType.KERNEL],
    log,
    observer: options.observer,
    serialize: serializer,
    expire: expire(clock, watching.signal),
    hub,
    drain: draining,
    tokens: { clock, maxTokenLifetimeMs: options.maxTokenLifetimeMs ?? 10 * 60_000, mintToken: options.identity?.mintToken },
    policies: trust,
    netnsUrl,
    wires,
    standBetween: between,
    watchNeighbours: watchNeighbours({ name, dialer, hub, log, signal: watching.signal }),
    dialer,
  });
  return { handler, hub, wires, draining };
}

/** A folder that goes with the function; short, because a socket path has 107 bytes at most. */
function ownFolder(stops: Stops): string {
  const folder = mkdtempSync(join(tmpdir(), "weft-function-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
