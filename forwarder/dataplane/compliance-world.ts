/**
 * A little world for the compliance suite: pods as network namespaces, cross-connects between them, and ways to look at it all.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Payload } from "../../sdk/api.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { addAddress, listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { formatAddress, formatPrefix, parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVeth, getLink, type Link, listLinks, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { listNeighbors } from "../../sdk/linux/netlink/neighbors.js";
import { listRoutes } from "../../sdk/linux/netlink/routes.js";
import { listRules } from "../../sdk/linux/netlink/rules.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, type NetnsHandle, openNetns, withNetns } from "../../sdk/linux/netns.js";
import type { CrossConnect, DataPlane, KernelPort } from "./dataplane.js";

export interface Namespace {
  readonly name: string;
  readonly url: string;
  readonly netns: NetnsHandle;
  readonly socket: NetlinkSocket;
  /** Takes the namespace away, as when its pod dies. */
  end(): void;
}

/** A test that cleans up after itself. */
export interface Cleanup {
  after(action: () => void): void;
}

/** Enters a test of the suite. */
export type Define = (name: string, run: (t: Cleanup) => Promise<void>) => void;
/** Makes a data plane at home in the calling thread's network namespace. */
export type MakeDataPlane = (stateDir: string) => DataPlane;
/** A data plane for one test. */
export type Start = (t: Cleanup) => DataPlane;

export interface Connected {
  readonly client: Namespace;
  readonly endpoint: Namespace;
  readonly dataPlane: DataPlane;
  readonly made: CrossConnect;
}

export const families = [AF_INET, AF_INET6] as const;
export const noSignal: AbortSignal = new AbortController().signal;
export const farFuture = 8_640_000_000_000_000;

/** A namespace that is gone after the test. */
export function namespace(t: Cleanup, hint: string): Namespace {
  const name = `wt-${hint}-${randomBytes(4).toString("hex")}`;
  createNamedNetns(name);
  const netns = openNetns(name);
  const socket = openNetlinkSocket(netns);
  const end = (): void => {
    socket.close();
    netns.close();
    deleteNamedNetns(name);
  };
  t.after(end);
  return { name, url: `file:///run/netns/${name}`, netns, socket, end };
}

/** Two namespaces joined by an underlay, each with an address per family. */
export function twoNodes(t: Cleanup): {
  one: Namespace;
  two: Namespace;
  address: (node: 1 | 2, family?: "v4" | "v6") => string;
} {
  const [one, two] = [namespace(t, "node1"), namespace(t, "node2")];
  const end = ({ netns }: Namespace) => ({ netns, name: "underlay", macAddress: randomMac(), mtuBytes: 1500 });
  one.socket.perform([createVeth(end(one), end(two))]);
  const address = (node: 1 | 2, family: "v4" | "v6" = "v4"): string =>
    family === "v4" ? `198.18.0.${node}` : `fd00:18::${node}`;
  for (const [node, { socket }] of [
    [1, one],
    [2, two],
  ] as const) {
    const index = getLink(socket, "underlay")?.index ?? 0;
    const addresses = [`${address(node)}/24`, `${address(node, "v6")}/64`].map((text) => addAddress(index, parsePrefix(text)));
    socket.perform([setLink(index, { up: true }), ...addresses]);
  }
  return { one, two, address };
}

export function stateFolder(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), "wt-dataplane-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function port(place: Pick<Namespace, "url">, change: Partial<KernelPort> = {}): KernelPort {
  return {
    kind: "kernel",
    netnsUrl: place.url,
    interfaceName: "nsm-1",
    alias: "server-test",
    macAddress: "",
    addresses: [],
    onLinkPrefixes: [],
    routes: [],
    neighbors: [],
    policies: [],
    ...change,
  };
}

/** A client's and an endpoint's port with the addresses of the usual point-to-point pool. */
export function numbered(client: Namespace, endpoint: Namespace, network = 0): { client: KernelPort; endpoint: KernelPort } {
  const v4 = `172.16.${network}`;
  const v6 = `fd16:${network.toString(16)}:`;
  return {
    client: port(client, { addresses: [`${v4}.1/32`, `${v6}:1/128`], onLinkPrefixes: [`${v4}.0/32`, `${v6}:0/128`] }),
    endpoint: port(endpoint, {
      interfaceName: "nse-1",
      alias: "client-test",
      addresses: [`${v4}.0/32`, `${v6}:0/128`],
      onLinkPrefixes: [`${v4}.1/32`, `${v6}:1/128`],
    }),
  };
}

export function crossConnect(
  id: string,
  ports: Pick<CrossConnect, "client" | "endpoint">,
  change: Partial<CrossConnect> = {},
): CrossConnect {
  return {
    id,
    generation: 1,
    payload: Payload.ETHERNET,
    mtuBytes: 1400,
    expiresAtMs: farFuture,
    record: new Uint8Array([1, 2, 3]),
    ...ports,
    ...change,
  };
}

/** Two pods on one node with a connection between them. */
export async function connected(t: Cleanup, start: Start, change: Partial<CrossConnect> = {}): Promise<Connected> {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const dataPlane = start(t);
  const made = crossConnect("c1", numbered(client, endpoint), change);
  await dataPlane.ensure(made, noSignal);
  return { client, endpoint, dataPlane, made };
}

/** Whether `destination` answers an echo request sent in that namespace. A missing answer takes half a second. */
export async function pings(from: Namespace, destination: string, source = "", payloadBytes = 16): Promise<boolean> {
  return (
    (await icmpEcho({ netnsUrl: from.url, source, destination, timeoutMs: 500, payloadBytes, signal: noSignal })) !== undefined
  );
}

export function linkIn(place: Namespace, name: string): Link | undefined {
  return getLink(place.socket, name);
}

/** Who may open ping sockets there. */
export function pingGroups({ netns }: Namespace): string {
  return withNetns(netns, () => readFileSync("/proc/sys/net/ipv4/ping_group_range", "utf8")).trim();
}

/**
 * Everything in a namespace that a data plane could leave behind, as text. Without the link-local route, which the kernel adds
 * some time after an interface is up.
 */
export function inventory(place: Namespace): string[] {
  const { socket } = place;
  return [
    ...listLinks(socket).map(({ name, kind, mtuBytes, alias }) => `link ${name} ${kind} ${mtuBytes} ${alias}`),
    ...listAddresses(socket)
      .filter(({ scope }) => scope === 0)
      .map(({ prefix }) => `address ${formatPrefix(prefix)}`),
    ...families.flatMap((family) =>
      listRoutes(socket, family)
        .filter(({ prefix }) => formatPrefix(prefix) !== "fe80::/64")
        .map(
          (route) => `route ${formatPrefix(route.prefix)} ${route.gateway ? formatAddress(route.gateway) : ""} ${route.table}`,
        ),
    ),
    ...families.flatMap((family) => listRules(socket, family).map((rule) => `rule ${JSON.stringify(rule)}`)),
    ...listLinks(socket).flatMap(({ index, name }) =>
      listNeighbors(socket, index)
        .filter(({ permanent }) => permanent)
        .map(({ address, macAddress }) => `neighbor ${formatAddress(address)} ${macAddress} ${name}`),
    ),
    `pings ${pingGroups(place)}`,
  ].sort();
}
