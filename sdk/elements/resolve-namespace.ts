/**
 * resolve-namespace — turns the network namespace that a neighbour names by inode into a path that others can open.
 * Does:   `resolveNamespace` (towards the next hop): inode://DEV/INO in preferences and mechanism becomes
 *         file:///proc/PID/ns/net, found by the caller's pid, then among mounts and processes; answers get the caller's url
 *         back. `resolveAnsweredNamespace` (towards the caller): the same for the mechanism that the next hop answers with.
 * Fails:  NOT_FOUND the namespace cannot be seen from here; PERMISSION_DENIED an ordinary user names a namespace that its
 *         own process is not in
 * Source: NSM passes descriptors for this (protocol behaviour §8); peer credentials do the same within one PID namespace.
 */
import { statSync } from "node:fs";
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Connection, Mechanism } from "../gen/connection.js";
import { findNetns } from "../linux/find-netns.js";
import { type NetnsUrl, parseNetnsUrl } from "../linux/netns-url.js";
import { kernelParameter } from "../mechanisms/kernel.js";
import type { Peer } from "../peer.js";
import { describePeer } from "../peer.js";
import { Code, statusError } from "../status.js";

export interface ResolveNamespaceOptions {
  /** Replaced in tests. */
  readonly find?: typeof findNetns;
}

/** Urls of one connection as one side names them, and as the other does. */
type Renaming = ReadonlyMap<string, string>;

export function resolveNamespace({ find = findNetns }: ResolveNamespaceOptions = {}): Element<ConnectionApi> {
  const resolved = new Map<string, Renaming>();
  return {
    name: "resolve-namespace",
    steps: {
      async request(request, { peer }, rest) {
        const { connection, mechanism_preferences } = request;
        if (connection === undefined) return rest.request(request);
        const urls = [connection.mechanism, ...mechanism_preferences].map(namespaceOf).filter((url) => url !== undefined);
        if (urls.length === 0) return rest.request(request);
        const renaming = new Map(urls.map((url) => [url, pathUrl(url, peer, find)]));
        const answer = await rest.request({
          ...request,
          connection: rename(connection, renaming),
          mechanism_preferences: mechanism_preferences.map((mechanism) => renameMechanism(mechanism, renaming)),
        });
        resolved.set(connection.id, renaming);
        return rename(answer, inverse(renaming));
      },
      async close(connection, _context, rest) {
        const renaming = resolved.get(connection.id);
        resolved.delete(connection.id);
        await rest.close(renaming === undefined ? connection : rename(connection, renaming));
      },
    },
  };
}

export function resolveAnsweredNamespace({ find = findNetns }: ResolveNamespaceOptions = {}): Element<ConnectionApi> {
  const resolved = new Map<string, Renaming>();
  return {
    name: "resolve-answered-namespace",
    steps: {
      async request(request, _context, rest) {
        const { connection } = request;
        if (connection === undefined) return rest.request(request);
        const known = resolved.get(connection.id);
        const asked = known === undefined ? request : { ...request, connection: rename(connection, inverse(known)) };
        const answer = await rest.request(asked);
        const url = namespaceOf(answer.mechanism);
        if (url === undefined) return answer;
        const renaming = new Map([[url, pathUrl(url, { kind: "self" }, find)]]);
        resolved.set(connection.id, renaming);
        return rename(answer, renaming);
      },
      async close(connection, _context, rest) {
        const renaming = resolved.get(connection.id);
        resolved.delete(connection.id);
        await rest.close(renaming === undefined ? connection : rename(connection, inverse(renaming)));
      },
    },
  };
}

/** The namespace url of a mechanism, if it names one by inode or file; a bare name is for who opens it. */
function namespaceOf(mechanism: Mechanism | undefined): string | undefined {
  const parameters = mechanism?.parameters ?? {};
  const url = Object.hasOwn(parameters, kernelParameter.netns) ? parameters[kernelParameter.netns] : undefined;
  return url === "" ? undefined : url;
}

function pathUrl(url: string, peer: Peer, find: typeof findNetns): string {
  const parsed = parseNetnsUrl(url);
  refuseForeign(url, parsed, peer);
  if (parsed.kind === "file") return url;
  const path = find(parsed.dev, parsed.ino, peer.kind === "unix" ? peer.pid : undefined);
  if (path === undefined) {
    throw statusError(
      Code.NOT_FOUND,
      `network namespace ${url} cannot be seen from here: it has gone, or its processes are in another PID namespace (run with hostPID)`,
    );
  }
  return `file://${path}`;
}

/** An ordinary user gets interfaces into the namespace its own process is in, and into no other. */
function refuseForeign(url: string, parsed: NetnsUrl, peer: Peer): void {
  if (peer.kind !== "unix" || peer.uid === 0 || peer.pid <= 0) return;
  const asked = parsed.kind === "inode" ? parsed : inodeOf(parsed.path);
  const own = inodeOf(`/proc/${peer.pid}/ns/net`);
  if (own === undefined || asked === undefined || (own.dev === asked.dev && own.ino === asked.ino)) return;
  throw statusError(
    Code.PERMISSION_DENIED,
    `${describePeer(peer)} is not in network namespace ${url}; ask from inside it, or as root`,
  );
}

function inodeOf(path: string): { dev: bigint; ino: bigint } | undefined {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? undefined : { dev: stat.dev, ino: stat.ino };
  } catch {
    // Another user's process: then its namespace cannot be told apart from others.
    return undefined;
  }
}

function rename(connection: Connection, renaming: Renaming): Connection {
  if (connection.mechanism === undefined) return connection;
  const mechanism = renameMechanism(connection.mechanism, renaming);
  return mechanism === connection.mechanism ? connection : { ...connection, mechanism };
}

function renameMechanism(mechanism: Mechanism, renaming: Renaming): Mechanism {
  const url = namespaceOf(mechanism);
  const other = url === undefined ? undefined : renaming.get(url);
  if (other === undefined || other === url) return mechanism;
  return { ...mechanism, parameters: { ...mechanism.parameters, [kernelParameter.netns]: other } };
}

function inverse(renaming: Renaming): Renaming {
  return new Map([...renaming].map(([from, to]) => [to, from]));
}
