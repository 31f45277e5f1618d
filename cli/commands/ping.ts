/** weft ping: echo requests from this network namespace, for pods and images without a `ping`. */
import { networkInterfaces } from "node:os";
import { parseDurationMs } from "../../sdk/config/duration.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { addressBits, formatAddress } from "../../sdk/linux/netlink/ip-address.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { listRoutes } from "../../sdk/linux/netlink/routes.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { pause } from "../../sdk/pause.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";

export interface PingOptions {
  readonly interface?: string;
  readonly count: number;
  readonly wait: string;
  readonly interval: string;
}

const timeoutMs = 1_000;
/** While nothing has been answered yet. */
const tryMs = 100;

/**
 * @param address  undefined: the other end of the connection on `--interface`
 * @returns 0 when every echo was answered
 */
export async function ping(address: string | undefined, options: PingOptions, { signal, out }: CliContext): Promise<number> {
  const { interface: interfaceName, count } = options;
  if (address === undefined && interfaceName === undefined) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      "say whom: weft ping ADDRESS, or weft ping --interface NAME for the other end of it",
    );
  }
  const intervalMs = parseDurationMs(options.interval);
  const endMs = performance.now() + parseDurationMs(options.wait);
  for (let answered = 0, sent = 0; ; ) {
    signal.throwIfAborted();
    const destination = address ?? otherEnd(interfaceName ?? "");
    const waiting = answered === 0 && performance.now() < endMs;
    if (destination === undefined) {
      if (!waiting) throw statusError(Code.NOT_FOUND, `interface ${interfaceName} has no route to a single address`);
      await pause(tryMs, signal);
      continue;
    }
    const reply = await icmpEcho({ source: "", destination, interfaceName, timeoutMs, signal });
    if (reply === undefined && waiting) {
      await pause(tryMs, signal);
      continue;
    }
    sent++;
    if (reply !== undefined) answered++;
    out.write(reply === undefined ? `${destination}: no answer\n` : `${destination}: ${reply.rttMs.toFixed(2)} ms\n`);
    if (sent >= count) {
      out.write(`${answered} of ${sent} answered\n`);
      return answered === sent ? 0 : 1;
    }
    await pause(intervalMs, signal);
  }
}

/** The connection's endpoint is the one address that has a route of its own over the interface. */
function otherEnd(interfaceName: string): string | undefined {
  const own = new Set((networkInterfaces()[interfaceName] ?? []).map(({ address }) => address));
  const socket = openNetlinkSocket();
  try {
    const link = listLinks(socket).find(({ name }) => name === interfaceName);
    if (link === undefined) return undefined;
    for (const family of [AF_INET, AF_INET6] as const) {
      for (const { prefix, gateway } of listRoutes(socket, family, link.index)) {
        const address = formatAddress(prefix);
        if (prefix.length === addressBits(prefix.family) && gateway === undefined && !own.has(address)) return address;
      }
    }
    return undefined;
  } finally {
    socket.close();
  }
}
