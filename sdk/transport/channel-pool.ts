/**
 * gRPC connections to other components, one per url as a rule, kept and shared.
 *
 * A Node server ends the whole HTTP/2 session after about 1,000 client-cancelled streams in a burst (nghttp2's reset
 * limit), and every other stream on it. So a connection carries at most as many calls as may be cancelled together, and
 * is replaced before its cancelled calls add up.
 */
import { setMaxListeners } from "node:events";
import { type ChannelCredentials, Client, connectivityState, credentials } from "@grpc/grpc-js";
import type { Identity } from "../identity/identity.js";
import type { Descriptors } from "../peer.js";
import { Code, type StatusError, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { type Address, dialTarget, formatAddress } from "./address.js";
import { defaultPassing, type PassDescriptors } from "./descriptors/take-over.js";
import { type UnixChannel, unixChannel } from "./descriptors/unix-credentials.js";
import { type ChannelTls, channelTls } from "./tls.js";

/** Calls in progress on one connection, and calls that may have been cancelled on it; together below 1,000. */
const maxActive = 400;
const maxCancelled = 400;
/** A connection without a call for so long is closed when another url is dialled. */
const idleMs = 10 * 60_000;

export interface PoolOptions {
  /** Absent = plain text. */
  readonly identity?: Identity | undefined;
  /** Hears of servers that are not trusted. */
  readonly log: Log;
  readonly maxMessageBytes: number;
  /** Time for a connection to become usable; after it the call fails with UNAVAILABLE. */
  readonly dialTimeoutMs: number;
  /** On unix sockets; default: where they are needed. */
  readonly passDescriptors?: PassDescriptors | undefined;
}

/** A connection lent for one call. */
export interface Lease {
  readonly client: Client;
  /** Aborts when the connection is known to be dead, or the pool is closed: the call should end itself. */
  readonly lost: AbortSignal;
  /** Undefined without an identity. */
  readonly tls: ChannelTls | undefined;
  /** Undefined where the connection passes none. */
  readonly descriptors: Descriptors | undefined;
  /** Gives it back; further calls do nothing. */
  release(end: CallEnd): void;
}

/**
 * How a call ended. A call that ran into its deadline leaves the question whether anybody is there: the connection is not
 * used for new calls any more, and if the next attempt to connect fails, what still hangs on the old one is ended.
 */
export type CallEnd = "done" | "cancelled" | "timed out" | "unavailable";

export interface ChannelPool {
  /** @throws UNAVAILABLE naming the address when nobody answers in time */
  lease(address: Address, signal: AbortSignal): Promise<Lease>;
  close(): void;
}

interface Channel {
  readonly url: string;
  readonly client: Client;
  readonly tls: ChannelTls | undefined;
  readonly unix: UnixChannel | undefined;
  readonly lost: AbortController;
  active: number;
  cancelled: number;
  retired: boolean;
  ready: boolean;
  connecting: Promise<void> | undefined;
  lastUsedMs: number;
}

export function createChannelPool(options: PoolOptions): ChannelPool {
  const channels = new Map<string, Channel[]>();
  /** Replaced ones on which calls still run. */
  const retired = new Set<Channel>();
  let closed = false;

  function take(address: Address): Channel {
    const url = formatAddress(address);
    for (const channel of channels.get(url) ?? []) if (channel.tls?.stale(Date.now())) retire(channel);
    const known = channels.get(url);
    const usable = known?.find((channel) => channel.active < maxActive && channel.cancelled < maxCancelled);
    if (usable !== undefined) return usable;
    sweep();
    const tls = tlsTo(url, options);
    const way = tls?.credentials ?? credentials.createInsecure();
    const unix = address.kind === "unix" ? unixChannel(way, options.passDescriptors ?? defaultPassing()) : undefined;
    const channel: Channel = {
      url,
      client: createClient(address, unix?.credentials ?? way, options),
      tls,
      unix,
      lost: lostSignal(),
      active: 0,
      cancelled: 0,
      retired: false,
      ready: false,
      connecting: undefined,
      lastUsedMs: Date.now(),
    };
    if (known === undefined) channels.set(url, [channel]);
    else known.push(channel);
    return channel;
  }

  /** No new calls on it; it is closed when its last call has ended. */
  function retire(channel: Channel): void {
    if (!channel.retired) {
      channel.retired = true;
      const left = (channels.get(channel.url) ?? []).filter((other) => other !== channel);
      if (left.length === 0) channels.delete(channel.url);
      else channels.set(channel.url, left);
    }
    if (channel.active > 0) retired.add(channel);
    else {
      retired.delete(channel);
      channel.client.close();
    }
  }

  /** Nobody answers at this url: calls and streams on older connections to it wait for nothing. */
  function giveUpOld(url: string): void {
    for (const channel of [...retired]) if (channel.url === url) channel.lost.abort();
  }

  function sweep(): void {
    const oldest = Date.now() - idleMs;
    for (const channel of [...channels.values()].flat()) {
      if (channel.active === 0 && channel.lastUsedMs < oldest) retire(channel);
    }
  }

  function giveBack(channel: Channel, end: CallEnd): void {
    channel.active--;
    if (end === "cancelled" || end === "timed out") channel.cancelled++;
    // Only a channel that has lost its connection is given up; UNAVAILABLE may also be the word of the next hop.
    const gone = end === "unavailable" && channel.client.getChannel().getConnectivityState(false) !== connectivityState.READY;
    const worn = channel.cancelled >= maxCancelled || end === "timed out";
    if (closed || gone || worn || channel.retired) retire(channel);
  }

  return {
    async lease(address, signal) {
      if (closed) throw statusError(Code.UNAVAILABLE, "this component is shutting down");
      const channel = take(address);
      channel.active++;
      channel.lastUsedMs = Date.now();
      try {
        if (!channel.ready || channel.client.getChannel().getConnectivityState(false) !== connectivityState.READY) {
          channel.connecting ??= connect(channel, options.dialTimeoutMs).finally(() => {
            channel.connecting = undefined;
          });
          await untilAborted(channel.connecting, signal);
          channel.ready = true;
        }
      } catch (error) {
        if (!signal.aborted) giveUpOld(channel.url);
        giveBack(channel, signal.aborted ? "done" : "unavailable");
        throw error;
      }
      let open = true;
      return {
        client: channel.client,
        tls: channel.tls,
        descriptors: channel.unix?.descriptors(),
        lost: channel.lost.signal,
        release(end) {
          if (open) giveBack(channel, end);
          open = false;
        },
      };
    },
    close() {
      closed = true;
      for (const channel of [...channels.values()].flat()) retire(channel);
      for (const channel of [...retired]) channel.lost.abort();
    },
  };
}

/** Each call on a connection listens to it. */
function lostSignal(): AbortController {
  const lost = new AbortController();
  setMaxListeners(0, lost.signal);
  return lost;
}

function tlsTo(url: string, { identity, log }: PoolOptions): ChannelTls | undefined {
  if (identity === undefined) return undefined;
  return channelTls(identity, (why) =>
    log.warn(`refused a server: ${why.details}`, { audit: "authentication", code: "UNAUTHENTICATED", url }),
  );
}

function createClient(address: Address, way: ChannelCredentials, options: PoolOptions): Client {
  return new Client(dialTarget(address), way, {
    "grpc.max_receive_message_length": options.maxMessageBytes,
    "grpc.max_send_message_length": options.maxMessageBytes,
    // Retries are the business of the end client: a hop that retries on its own multiplies the load of a failure.
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
    // The pool is ours: two clients must be two connections.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0,
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 500,
    // Go servers end a connection that is pinged more often than every five minutes (grpc-go keepalive enforcement).
    "grpc.keepalive_time_ms": 5 * 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
  });
}

function connect(channel: Channel, dialTimeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + dialTimeoutMs;
    const state = channel.client.getChannel();
    const look = (): void => {
      const now = state.getConnectivityState(true);
      if (now === connectivityState.READY) {
        resolve();
        return;
      }
      if (now === connectivityState.TRANSIENT_FAILURE || now === connectivityState.SHUTDOWN) {
        reject(unreachable(channel));
        return;
      }
      state.watchConnectivityState(now, deadline, (error) => {
        if (error) reject(unreachable(channel, `no answer within ${dialTimeoutMs} ms`));
        else look();
      });
    };
    look();
  });
}

function unreachable(channel: Channel, why = "nobody answers"): StatusError {
  const refusal = channel.tls?.failure();
  if (refusal !== undefined) return statusError(refusal.code, `${channel.url}: ${refusal.details}`, refusal.cause);
  return statusError(Code.UNAVAILABLE, `cannot reach ${channel.url}: ${why}; is the process running?`);
}

/** Waits for work that others share: an abort ends the wait, not the work. */
function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) {
    work.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const cut = (): void => reject(signal.reason);
    signal.addEventListener("abort", cut, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", cut));
  });
}
