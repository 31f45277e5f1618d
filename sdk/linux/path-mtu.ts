/**
 * The largest packet that reaches another node, measured: echo requests of several sizes that no router may fragment, all at once.
 * What routers say about it (RFC 1191, RFC 8201) is not relied on: the message may be filtered, and a bridge sends none.
 */
import { setMaxListeners } from "node:events";
import { isIPv6 } from "node:net";
import { icmpEcho } from "./icmp-echo.js";

export interface PathMtuOptions {
  /** Where it is measured from; absent = the caller's namespace. */
  readonly netnsUrl?: string;
  /** Own address of the path. */
  readonly source: string;
  readonly destination: string;
  /** Of the link it leaves by: nothing larger is tried. */
  readonly linkMtuBytes: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Sizes that occur: jumbo frames, Ethernet, and what tunnels and access networks leave of it; 1280 is IPv6's least. */
const sizes: readonly number[] = [
  9216, 9000, 8192, 4096, 1500, 1492, 1480, 1472, 1460, 1450, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1024,
  576,
];
const ipv6Least = 1280;

/** Undefined: not even the smallest one was answered, so nothing can be said about sizes. */
export async function measurePathMtu(options: PathMtuOptions): Promise<number | undefined> {
  const { source, destination, linkMtuBytes, timeoutMs } = options;
  // One listener for each echo under way.
  const signal = AbortSignal.any([options.signal]);
  setMaxListeners(0, signal);
  const netns = options.netnsUrl === undefined ? {} : { netnsUrl: options.netnsUrl };
  const v6 = isIPv6(destination);
  const headers = v6 ? 48 : 28;
  const tried = [linkMtuBytes, ...sizes.filter((size) => size < linkMtuBytes && (!v6 || size >= ipv6Least))];
  const passes = async (size: number): Promise<boolean> =>
    (await icmpEcho({ ...netns, source, destination, payloadBytes: size - headers, unfragmented: true, timeoutMs, signal })) !==
    undefined;
  // As a rule nothing has changed: then one packet is enough.
  if (await passes(linkMtuBytes)) return linkMtuBytes;
  const largest = async (candidates: readonly number[]): Promise<number | undefined> => {
    const answers = await Promise.all(candidates.map(passes));
    return candidates.find((_, index) => answers[index]);
  };
  const found = await largest(tried);
  // A single packet may be lost for other reasons: what is larger has one more chance.
  const larger = tried.filter((size) => size > (found ?? Number.POSITIVE_INFINITY));
  return (await largest(larger)) ?? found;
}
