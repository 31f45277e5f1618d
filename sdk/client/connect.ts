/** connect — asks the mesh for a connection to a network service and keeps it until it is closed. */
import { randomUUID } from "node:crypto";
import { MechanismType } from "../api.js";
import { backgroundCall, type ChainObserver } from "../chain.js";
import { type Clock, systemClock } from "../clock.js";
import type { ExchangeTokensOptions } from "../elements/exchange-tokens.js";
import type { Whereabouts } from "../elements/label-workload.js";
import type { Connection } from "../gen/connection.js";
import { ConnectionContext } from "../gen/connectioncontext.js";
import type { Identity } from "../identity/identity.js";
import { inodeUrl, openNetns, ownInodeUrl } from "../linux/netns.js";
import { sharedParameter } from "../mechanisms/parameters.js";
import { parseServiceUrl, type ServiceUrl } from "../mechanisms/service-url.js";
import type { AnswerPolicy } from "../policies/answers.js";
import { type Policies, policiesFor } from "../policies/policies.js";
import type { PolicyMasks } from "../policies/settings.js";
import { type Log, silentLog } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import { type Backoff, defaultBackoff } from "./backoff.js";
import { clientChain } from "./chain.js";
import { type Change, type Changes, createChanges } from "./changes.js";
import { Urgency } from "./gate.js";
import { keep } from "./keep.js";
import type { KeepOptions, Kept } from "./keep-options.js";
import { leftBehind } from "./left-behind.js";
import type { LivenessCheck } from "./liveness.js";
import { type NodeManager, nodeManagerAt, type Report, type Watch } from "./node-manager.js";
import { firstRequest, type Wish, wantedMechanism } from "./requests.js";
import { retry } from "./retry.js";
import { borrowDialer } from "./shared-dialer.js";

/** What a client asks for, of whom, and how it watches over it. Only `url` and `signal` must be there. */
export interface ConnectOptions {
  /** mechanism://service[/interface][?label=value], for example kernel://icmp-responder/nsm-1?tenant=a. */
  readonly url: string | ServiceUrl;
  /** Ends everything: before the first answer connect() rejects, afterwards the connection is closed. */
  readonly signal: AbortSignal;
  /** Where the node manager listens. Default: the socket every node of a mesh has. */
  readonly nsmgr?: string;
  /** Added to the labels of the url. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Name of this client in the path; equal for all connections of a workload. Default: unique to this process. */
  readonly name?: string;
  /** Connection id. With one, a connection that an earlier process made under it is taken over. Default: a new one. */
  readonly id?: string;
  /** Only this endpoint. Default: any of the service. */
  readonly endpointName?: string;
  /** Of the interface: file:///run/netns/NAME. Default: that of this process. */
  readonly netnsUrl?: string;
  /** Addresses, excluded prefixes and more that the endpoint should consider. */
  readonly context?: ConnectionContext;
  /** Where the workload runs (NODE_NAME, POD_NAME, CLUSTER_NAME of its environment); becomes labels. */
  readonly workload?: Whereabouts;
  /** How to see that packets pass. Default: ICMP echo between the addresses; false: not at all. */
  readonly liveness?: LivenessCheck | false;
  /** Default 200. */
  readonly livenessIntervalMs?: number;
  /** Default 1,000. */
  readonly livenessTimeoutMs?: number;
  /** For one Request. Default 15,000. */
  readonly requestTimeoutMs?: number;
  /** For connect() as a whole. Default: until `signal` aborts. */
  readonly connectTimeoutMs?: number;
  /** Without a living data path for so long healing gives up and the connection is closed. Default: never. */
  readonly giveUpAfterMs?: number;
  /**
   * Without a probe: how long a connection that is reported as down may yet be alive while nothing speaks for or against it. So long
   * the restart of a manager or forwarder may take without harm. Default 6,000.
   */
  readonly patienceMs?: number;
  /** Pauses between tries. Default 50 ms, doubled up to 1 s. */
  readonly backoff?: Backoff;
  /** How long the old path stays beside the new one after a planned move. Default 500. */
  readonly lingerMs?: number;
  /** Life of the connection without a refresh. Default ten minutes. */
  readonly maxTokenLifetimeMs?: number;
  /** Makes the token that vouches for us. Default: none, as in a mesh without identities. */
  readonly mintToken?: ExchangeTokensOptions["mintToken"];
  /** Default: one that all connections of this process share, without credentials. */
  readonly dialer?: Dialer;
  /** Absent = plain text, no tokens; see identityFromEnvironment. Connections share one dialer for each identity. */
  readonly identity?: Identity | undefined;
  /** What is demanded of answers when there is an identity; default: upstream's policies. */
  readonly policyMasks?: Partial<PolicyMasks>;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly observer?: ChainObserver;
}

/** A connection that is kept until it is closed, or its signal aborts. */
export interface ClientConnection {
  readonly id: string;
  /** Name of the interface in the namespace of the workload; empty for mechanisms without one. */
  readonly interfaceName: string;
  /** Addresses, routes, DNS, MTU as granted; read it again after a change. */
  readonly context: ConnectionContext;
  /** The connection as it is now. */
  readonly connection: Connection;
  /** What happens to it, from now on. Ends when the connection is closed. */
  readonly changes: AsyncIterable<Change>;
  /** Gives the connection back; resolves when it is gone. */
  close(): Promise<void>;
  /**
   * Lets go without giving it back: nobody refreshes it here any more. It lives until it expires, or until another
   * process connects under the same name and id.
   */
  leave(): Promise<void>;
}

export const defaultNodeManagerUrl = "unix:///var/lib/networkservicemesh/nsm.io.sock";

/** Name in the path for clients that give none. */
const processName = `client-${randomUUID()}`;

/**
 * Resolves when a connection is granted; it is refreshed and healed until it is closed. Who does not answer is asked again.
 * @throws ALREADY_EXISTS the id is in use in this process; INVALID_ARGUMENT, UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED as
 *         the mesh answers; DEADLINE_EXCEEDED after `connectTimeoutMs`; the reason of `signal`
 */
export async function connect(asked: ConnectOptions): Promise<ClientConnection> {
  asked.signal.throwIfAborted();
  // A program has one signal for all its connections; what listens here is of this one, and at eleven Node would warn of a leak.
  const options = { ...asked, signal: AbortSignal.any([asked.signal]) };
  const wish = wishOf(options);
  const borrowed =
    options.dialer === undefined ? borrowDialer(options.identity, options.log) : { dialer: options.dialer, giveBack() {} };
  let kept: Kept | undefined;
  let watch: Watch | undefined;
  let trust: Policies | undefined;
  const release = (): void => {
    watch?.stop();
    trust?.close();
    borrowed.giveBack();
  };
  try {
    trust = await policiesFor(options.identity, options.policyMasks, { log: options.log ?? silentLog });
    const manager = nodeManagerAt(borrowed.dialer, options.nsmgr ?? defaultNodeManagerUrl, wish.name, options.log ?? silentLog);
    // Reports before the first grant are about an earlier life of the connection; `watch.first` has what matters of them.
    const hearOf = (id: string): Watch => manager.watch(id, (report: Report) => kept?.hear(id, report));
    watch = hearOf(wish.id);
    const keepOptions = keepOptionsOf(options, wish, {
      dialer: borrowed.dialer,
      manager,
      answers: trust?.answers,
      hearOf,
    });
    const { first, adopted } = await obtain(options, wish, watch, keepOptions);
    kept = keep(first, keepOptions, adopted);
    return handle(wish, kept, keepOptions.changes, options.signal, release);
  } catch (error) {
    release();
    throw error;
  }
}

function wishOf(options: ConnectOptions): Wish {
  const service = typeof options.url === "string" ? parseServiceUrl(options.url) : options.url;
  const id = options.id ?? randomUUID();
  const netnsUrl = service.mechanism === MechanismType.NOOP ? "" : inodeOf(options.netnsUrl);
  return {
    service,
    labels: options.labels ?? {},
    name: options.name ?? processName,
    id,
    mechanism: wantedMechanism(service, id, netnsUrl),
    context: options.context,
    endpointName: options.endpointName ?? "",
  };
}

/** A namespace travels as device and inode: a path would mean something else to the node manager. */
function inodeOf(netnsUrl: string | undefined): string {
  if (netnsUrl === undefined) return ownInodeUrl();
  const handle = openNetns(netnsUrl);
  try {
    return inodeUrl(handle);
  } finally {
    handle.close();
  }
}

type Obtained = { readonly first: Connection; readonly adopted: boolean };

/** The connection that an earlier process left, else a new one. */
async function obtain(options: ConnectOptions, wish: Wish, watch: Watch, keepOptions: KeepOptions): Promise<Obtained> {
  const { clock, handler, gate, log, requestTimeoutMs } = keepOptions;
  // Looked for before each try: a node manager that has restarted itself learns only by and by what was there.
  const attempt = async (): Promise<Obtained> => {
    const left = options.id === undefined ? undefined : await leftBehind(wish, watch, keepOptions, options.signal);
    if (left !== undefined) return { first: left, adopted: true };
    const first = await gate.run(Urgency.NEW, options.signal, () => {
      const signal = AbortSignal.any([options.signal, AbortSignal.timeout(requestTimeoutMs)]);
      return handler.request(firstRequest(wish), { ...backgroundCall(signal), deadlineMs: Date.now() + requestTimeoutMs });
    });
    return { first, adopted: false };
  };
  return retry(attempt, {
    clock,
    backoff: options.backoff ?? defaultBackoff,
    signal: options.signal,
    deadlineMs: options.connectTimeoutMs === undefined ? undefined : clock.nowMs() + options.connectTimeoutMs,
    onRefused: (error, pauseMs) => log.warn("not connected yet", { connectionId: wish.id, error, pauseMs }),
  });
}

interface Surroundings {
  readonly dialer: Dialer;
  readonly manager: NodeManager;
  readonly answers: AnswerPolicy | undefined;
  readonly hearOf: KeepOptions["watch"];
}

function keepOptionsOf(options: ConnectOptions, wish: Wish, { dialer, manager, answers, hearOf }: Surroundings): KeepOptions {
  const clock = options.clock ?? systemClock;
  const livenessTimeoutMs = options.livenessTimeoutMs ?? 1_000;
  const handler = clientChain({
    name: wish.name,
    workload: options.workload ?? {},
    clock,
    maxTokenLifetimeMs: options.maxTokenLifetimeMs ?? 10 * 60_000,
    mintToken: options.mintToken,
    nodeManager: dialer.connections(options.nsmgr ?? defaultNodeManagerUrl),
    answers,
    observer: options.observer,
  });
  return {
    wish,
    handler,
    gate: manager.gate,
    silence: manager.silence,
    clock,
    log: options.log ?? silentLog,
    changes: createChanges(),
    liveness: options.liveness,
    livenessIntervalMs: options.livenessIntervalMs ?? 200,
    livenessTimeoutMs,
    netnsUrl: options.netnsUrl,
    rules: {
      backoff: options.backoff ?? defaultBackoff,
      verifyMs: 2 * livenessTimeoutMs,
      verdictMs: Math.min(livenessTimeoutMs, 300),
      patienceMs: options.patienceMs ?? 6_000,
      settleMs: 5_000,
      giveUpAfterMs: options.giveUpAfterMs,
    },
    requestTimeoutMs: options.requestTimeoutMs ?? 15_000,
    watch: hearOf,
    lingerMs: options.lingerMs ?? 500,
  };
}

function handle(wish: Wish, kept: Kept, changes: Changes, signal: AbortSignal, release: () => void): ClientConnection {
  const abort = (): void => void kept.close();
  signal.addEventListener("abort", abort, { once: true });
  const released = kept.closed.then(() => {
    signal.removeEventListener("abort", abort);
    release();
  });
  if (signal.aborted) abort();
  return {
    id: wish.id,
    get interfaceName() {
      return kept.connection.mechanism?.parameters[sharedParameter.name] ?? "";
    },
    get context() {
      return kept.connection.context ?? ConnectionContext.fromPartial({});
    },
    get connection() {
      return kept.connection;
    },
    changes,
    async close() {
      await kept.close();
      await released;
    },
    async leave() {
      await kept.leave();
      await released;
    },
  };
}
