/**
 * public-url — the URL under which other nodes reach this manager (pure).
 * Rule: the first tcp:// address of the listen list; without a host in it, the first IPv4 address of this machine
 * that is not loopback, else its first global IPv6 address. Without tcp, the first address: a mesh of one node.
 */
import type { NetworkInterfaceInfo } from "node:os";

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/**
 * @param listenUrls  as bound (a port 0 already replaced), at least one
 * @param interfaces  os.networkInterfaces()
 */
export function publicUrl(listenUrls: readonly string[], interfaces: Interfaces): string {
  const tcp = listenUrls.find((url) => url.startsWith("tcp://"));
  if (tcp === undefined) return listenUrls[0] ?? "";
  const { host, port } = splitTcp(tcp);
  if (!isUnspecified(host)) return `tcp://${hostInUrl(host)}:${port}`;
  return `tcp://${hostInUrl(reachableAddress(interfaces) ?? "127.0.0.1")}:${port}`;
}

/**
 * Puts IPv6 hosts into brackets: deployments write `tcp://$(POD_IP):5001` for both families.
 * Anything that is not tcp is returned as it is.
 */
export function bracketIpv6(url: string): string {
  if (!url.startsWith("tcp://")) return url;
  const { host, port } = splitTcp(url);
  return `tcp://${hostInUrl(host)}:${port}`;
}

function splitTcp(url: string): { host: string; port: string } {
  const rest = url.slice("tcp://".length);
  const colon = rest.lastIndexOf(":");
  if (colon < 0) return { host: rest, port: "" };
  return { host: rest.slice(0, colon).replace(/^\[|\]$/g, ""), port: rest.slice(colon + 1) };
}

function hostInUrl(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function isUnspecified(host: string): boolean {
  return host === "" || host === "0.0.0.0" || host === "::";
}

function reachableAddress(interfaces: Interfaces): string | undefined {
  const all = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .filter((address) => !address.internal);
  const v4 = all.find((address) => address.family === "IPv4");
  if (v4 !== undefined) return v4.address;
  return all.find((address) => address.family === "IPv6" && address.scopeid === 0)?.address;
}
