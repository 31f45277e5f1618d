/**
 * gRPC connections to other components, one per url as a rule, kept and shared.
 *
 * A server ends a whole HTTP/2 connection after about 1,000 client-cancelled streams in a burst (ours, and nghttp2's reset
 * limit), and every other stream on it. So a connection carries at most as many calls as may be cancelled together, and
 * is replaced before its cancelled calls add up.
 */
import { Code, statusError } from "../status.js";
import { type Address, formatAddress } from "./address.js";
import { defaultPassing, type PassDescriptors } from "./descriptors/take-over.js";
import { type OpenChannel, type OpenOptions, openChannel } from "./open-channel.js";

/** Calls in progress on one connection, and calls that may have been cancelled on it; together below 1,000. */
const maxActive = 400;
const maxCancelled = 400;
/** A connection without a call for so long is closed when another url is dialled. */
const idleMs = 10 * 60_000;

export interface PoolOptions extends Omit<OpenOptions, "onGone" | "passDescriptors"> {
  /** On unix sockets; default: where they are needed. */
  readonly passDescriptors?: PassDescriptors | undefined;
}

/** A connection lent for one call. */
export interface Lease extends OpenChannel {
  /** Gives it back; further calls do nothing. */
  release(end: CallEnd): void;
}

/**
 * How a call ended. A call that ran into its deadline leaves the question whether anybody is there. Where something else was heard
 * since it began, somebody is, and only slow: the connection stays, because to leave it and to connect anew is what a busy
 * process can bear least. Otherwise it is not used for new calls any more, and if the next attempt to connect fails too, what still
 * hangs on the old one is ended.
 */
export type CallEnd = "done" | "cancelled" | "timed out";

export interface ChannelPool {
  readonly maxMessageBytes: number;
  /** @throws UNAVAILABLE naming the address when nobody answers in time */
  lease(address: Address, signal: AbortSignal): Promise<Lease>;
  close(): void;
}

interface Channel {
  readonly url: string;
  open: OpenChannel | undefined;
  active: number;
  cancelled: number;
  retired: boolean;
  /** A deadline has passed on it; what has come in meanwhile is not read yet. */
  doubtful: boolean;
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
    for (const channel of channels.get(url) ?? []) if (channel.open?.tls?.stale(Date.now())) retire(channel);
    const known = channels.get(url);
    const usable = known?.find(hasRoom);
    if (usable !== undefined) return usable;
    sweep();
    const channel: Channel = {
      url,
      open: undefined,
      active: 0,
      cancelled: 0,
      retired: false,
      doubtful: false,
      connecting: undefined,
      lastUsedMs: Date.now(),
    };
    if (known === undefined) channels.set(url, [channel]);
    else known.push(channel);
    channel.connecting = connect(channel, address).finally(() => {
      channel.connecting = undefined;
    });
    return channel;
  }

  async function connect(channel: Channel, address: Address): Promise<void> {
    const open = await openChannel(address, {
      ...options,
      passDescriptors: options.passDescriptors ?? defaultPassing(),
      onGone: () => retire(channel),
    });
    channel.open = open;
    if (channel.retired && channel.active === 0) open.connection.leave();
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
      channel.open?.connection.leave();
    }
  }

  /** Nobody answers at this url: calls and streams on older connections to it wait for nothing. */
  function giveUpOld(url: string): void {
    for (const { url: other, open } of [...retired]) {
      const silentMs = performance.now() - (open?.connection.heardMs ?? 0);
      if (other === url && silentMs >= options.dialTimeoutMs) open?.connection.destroy("the connection is dead");
    }
  }

  function sweep(): void {
    const oldest = Date.now() - idleMs;
    for (const channel of [...channels.values()].flat()) {
      if (channel.active === 0 && channel.lastUsedMs < oldest) retire(channel);
    }
  }

  function giveBack(channel: Channel, end: CallEnd, begunMs: number): void {
    channel.active--;
    if (end !== "done") channel.cancelled++;
    if (closed || channel.cancelled >= maxCancelled || channel.retired) retire(channel);
    else if (end === "timed out") doubt(channel, begunMs);
  }

  /** The timer of a deadline may run before what has come in is read: the verdict is given after that. */
  function doubt(channel: Channel, begunMs: number): void {
    channel.doubtful = true;
    setImmediate(() => {
      channel.doubtful = false;
      if ((channel.open?.connection.heardMs ?? 0) < begunMs) retire(channel);
    });
  }

  async function ready(channel: Channel, signal: AbortSignal): Promise<OpenChannel> {
    if (channel.connecting !== undefined) await untilAborted(channel.connecting, signal);
    if (channel.open === undefined) throw statusError(Code.UNAVAILABLE, `${channel.url}: the connection is closed`);
    return channel.open;
  }

  return {
    maxMessageBytes: options.maxMessageBytes,
    async lease(address, signal) {
      if (closed) throw statusError(Code.UNAVAILABLE, "this component is shutting down");
      const channel = take(address);
      channel.active++;
      channel.lastUsedMs = Date.now();
      const begunMs = performance.now();
      let lent: OpenChannel | undefined = channel.open;
      try {
        lent ??= await ready(channel, signal);
      } catch (error) {
        channel.active--;
        if (!signal.aborted) {
          retire(channel);
          giveUpOld(channel.url);
        } else if (closed || channel.retired) retire(channel);
        throw error;
      }
      let leased = true;
      return {
        ...lent,
        release(end) {
          if (leased) giveBack(channel, end, begunMs);
          leased = false;
        },
      };
    },
    close() {
      closed = true;
      for (const channel of [...channels.values()].flat()) retire(channel);
      for (const channel of [...retired]) channel.open?.connection.destroy("this component is shutting down");
    },
  };
}

function hasRoom({ active, cancelled, doubtful, open }: Channel): boolean {
  return !doubtful && active < Math.min(maxActive, open?.connection.maxActive ?? maxActive) && cancelled < maxCancelled;
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
