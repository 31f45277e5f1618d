/**
 * resolve-namespace — turns the network namespace that a neighbour names by inode into a path that others can open.
 * Does:   `resolveNamespace` (towards the next hop): inode://DEV/INO in preferences and mechanism becomes
 *         file:///proc/PID/ns/net, found by the caller's pid, then among mounts and processes; answers get the caller's url
 *         back. `answeredNamespaces` (towards the caller): the same for the mechanism that the next hop answers with.
 *         A namespace whose descriptor has come over the connection has a path already (sdk/transport/descriptors).
 * Fails:  NOT_FOUND the namespace cannot be seen from here; PERMISSION_DENIED an ordinary user names a namespace that its
 *         own process is not in
 * Source: NSM passes descriptors for this (protocol behaviour §8); peer credentials do the same within one PID namespace.
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Connection } from "../gen/connection.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { findNetns, rememberNetns } from "../linux/find-netns.js";
import { inodeOf, inodeUrl, type NetnsUrl, parseNetnsUrl } from "../linux/netns-url.js";
import { sharedParameter, withParameters } from "../mechanisms/parameters.js";
import type { HeldFile, Inode, Peer } from "../peer.js";
import { describePeer } from "../peer.js";
import { Code, statusError } from "../status.js";
import { takeAnswered } from "../transport/descriptors/client-calls.js";
import {
  fileUrlOf,
  inverse,
  parseInodeUrl,
  type Renaming,
  rememberFile,
  renameMechanism,
} from "../transport/descriptors/names.js";
import { cameAsDescriptor } from "../transport/descriptors/server-calls.js";

export interface ResolveNamespaceOptions {
  /** Replaced in tests. */
  readonly find?: typeof findNetns;
}

export function resolveNamespace({ find = findNetns }: ResolveNamespaceOptions = {}): Element<ConnectionApi> {
  const resolved = new Map<string, Renaming>();
  return {
    name: "resolve-namespace",
    steps: {
      async request(request, { peer }, rest) {
        const { connection, mechanism_preferences } = request;
        if (connection === undefined) return rest.request(request);
        const renaming = new Map<string, string>();
        for (const mechanism of [connection.mechanism, ...mechanism_preferences]) {
          const url = namespaceOf(mechanism);
          if (url !== undefined) renaming.set(url, cameAsDescriptor(mechanism) ? url : pathUrl(url, peer, find));
        }
        if (renaming.size === 0) return rest.request(request);
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

export interface AnsweredNamespaces {
  /** Stands where the answer comes in. */
  readonly resolve: Element<ConnectionApi>;
  /** Stands before those who use it, and closes what came as a descriptor when they are done. */
  readonly release: Element<ConnectionApi>;
}

export function answeredNamespaces({ find = findNetns }: ResolveNamespaceOptions = {}): AnsweredNamespaces {
  const resolved = new Map<string, Renaming>();
  /** By connection: what came as a descriptor is open until the request ends. */
  const open = new Map<string, HeldFile>();

  /** Can be opened by its name on the wire from now on; that name stays the same when the descriptor does not. */
  function keep(id: string, file: HeldFile): void {
    forget(id);
    open.set(id, file);
    rememberFile(inodeUrl(file), file.path);
    rememberNetns(file.dev, file.ino, file.path);
  }

  function forget(id: string): void {
    const file = open.get(id);
    if (file === undefined) return;
    open.delete(id);
    rememberFile(inodeUrl(file), [...open.values()].find((other) => sameFile(other, file))?.path);
    file.close();
  }

  const release: Element<ConnectionApi> = {
    name: "release-answered-namespace",
    steps: {
      async request(request, _context, rest) {
        try {
          return await rest.request(request);
        } finally {
          forget(request.connection?.id ?? "");
        }
      },
    },
  };
  const resolve: Element<ConnectionApi> = {
    name: "resolve-answered-namespace",
    steps: {
      async request(request, _context, rest) {
        const { connection } = request;
        if (connection === undefined) return rest.request(request);
        const known = resolved.get(connection.id);
        const asked = known === undefined ? request : { ...request, connection: rename(connection, inverse(known)) };
        const answer = await rest.request(withoutLost(asked, find));
        const url = namespaceOf(answer.mechanism);
        if (url === undefined) return answer;
        const file = takeAnswered(answer.mechanism);
        if (file !== undefined) {
          keep(connection.id, file);
          resolved.delete(connection.id);
          return answer;
        }
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
  return { resolve, release };
}

/** Undefined for a mechanism without one; a bare name is for who opens it. */
const namespaceOf = fileUrlOf;

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
  if (peer.kind !== "unix") return;
  const sharesOurView = peer.descriptors === undefined;
  if (sharesOurView && (peer.uid === 0 || peer.pid <= 0)) return;
  // Out of our sight it may be in any; with the descriptor it would have shown that it may have this one.
  if (peer.pid <= 0) {
    throw statusError(
      Code.PERMISSION_DENIED,
      `${describePeer(peer)} names network namespace ${url} without its descriptor; send it, or share the PID namespace of this node`,
    );
  }
  const asked = parsed.kind === "inode" ? parsed : inodeOf(parsed.path);
  const own = inodeOf(`/proc/${peer.pid}/ns/net`);
  if (own === undefined || asked === undefined || (own.dev === asked.dev && own.ino === asked.ino)) return;
  throw statusError(
    Code.PERMISSION_DENIED,
    `${describePeer(peer)} is not in network namespace ${url}; ask from inside it, or as root`,
  );
}

/**
 * Without the name of a namespace that we cannot open: who answers would wait for its descriptor until the call ends, and it
 * is he who says where his interface is to be.
 */
function withoutLost(request: NetworkServiceRequest, find: typeof findNetns): NetworkServiceRequest {
  const { connection } = request;
  const mechanism = connection?.mechanism;
  const inode = parseInodeUrl(namespaceOf(mechanism) ?? "");
  if (connection === undefined || mechanism === undefined || inode === undefined) return request;
  if (find(inode.dev, inode.ino) !== undefined) return request;
  return {
    ...request,
    connection: { ...connection, mechanism: withParameters(mechanism, { [sharedParameter.inodeUrl]: undefined }) },
  };
}

function rename(connection: Connection, renaming: Renaming): Connection {
  if (connection.mechanism === undefined) return connection;
  const mechanism = renameMechanism(connection.mechanism, renaming);
  return mechanism === connection.mechanism ? connection : { ...connection, mechanism };
}

function sameFile(one: Inode, other: Inode): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}
