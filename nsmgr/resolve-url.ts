/**
 * resolve-url — finds the socket of an endpoint that names it in a way only the endpoint itself understands.
 * Does:   inode://DEV/INO (how NSM endpoints name the socket file whose descriptor they pass) becomes the path of that
 *         socket, found among those on which the caller's process listens; a unix:// path of another mount namespace becomes
 *         one through /proc/PID/root. The endpoint gets its own URL back
 * Fails:  INVALID_ARGUMENT when the socket cannot be found, with the remedy
 * Source: NSM passes a descriptor (protocol behaviour §8); the peer's pid does the same within one PID namespace
 */
import { readFile, stat } from "node:fs/promises";
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Peer } from "../sdk/peer.js";
import { Code, type StatusError, statusError } from "../sdk/status.js";
import { maxSocketPathBytes } from "../sdk/transport/address.js";

/** @param proc  where procfs is mounted; tests have one of their own */
export function resolveUrl(proc = "/proc"): Element<EndpointRegistryApi> {
  return {
    name: "resolve-url",
    steps: {
      async register(endpoint, { peer }, rest) {
        const { name, url } = endpoint;
        const reachable = await locate(name, url, peer, proc);
        if (reachable === url) return rest.register(endpoint);
        return { ...(await rest.register({ ...endpoint, url: reachable })), url };
      },
    },
  };
}

async function locate(name: string, url: string, peer: Peer, proc: string): Promise<string> {
  // its descriptor has come with it (sdk/transport/descriptors)
  if (url.startsWith(`unix:///proc/${globalThis.process.pid}/fd/`)) return url;
  const process = peer.kind === "unix" && peer.pid > 0 ? `${proc}/${peer.pid}` : undefined;
  const inode = /^inode:\/\/(\d{1,20})\/(\d{1,20})$/.exec(url);
  if (inode !== null) {
    if (process === undefined) throw notFound(name, url, "its process cannot be seen from here");
    const wanted = { dev: BigInt(inode[1] ?? 0), ino: BigInt(inode[2] ?? 0) };
    for (const path of await listeningPaths(process)) {
      const seen = await inodeOf(`${process}/${path.startsWith("/") ? "root" : "cwd/"}${path}`);
      if (seen !== undefined && same(seen, wanted)) return reachableUrl(name, url, process, path, wanted);
    }
    throw notFound(name, url, "its process listens on no such socket");
  }
  if (process === undefined || !url.startsWith("unix:")) return url;
  const path = url.replace(/^unix:(\/\/)?/, "");
  const theirs = path.startsWith("/") ? await inodeOf(`${process}/root${path}`) : undefined;
  // not there, or not ours to look at: who dials it will say so
  return theirs === undefined ? url : reachableUrl(name, url, process, path, theirs);
}

/** The path as it is if we see the same file there, else through the process's own root. */
async function reachableUrl(name: string, url: string, process: string, path: string, wanted: Inode): Promise<string> {
  const here = path.startsWith("/") ? await inodeOf(path) : undefined;
  if (here !== undefined && same(here, wanted)) return `unix://${path}`;
  const through = `${process}/${path.startsWith("/") ? "root" : "cwd/"}${path}`;
  if (Buffer.byteLength(through) <= maxSocketPathBytes) return `unix://${through}`;
  throw notFound(name, url, `its path through ${through} has more than ${maxSocketPathBytes} bytes`);
}

/** Paths of the unix sockets on which the network namespace of that process listens (proc_net_unix(5)). */
async function listeningPaths(process: string): Promise<string[]> {
  const acceptsConnections = 0x10000;
  const table = await readFile(`${process}/net/unix`, "utf8").catch(() => "");
  const paths: string[] = [];
  for (const line of table.split("\n")) {
    const [, flags, path] = /^\S+ \S+ \S+ ([0-9A-Fa-f]+) \S+ \S+ +\d+ (.+)$/.exec(line) ?? [];
    // an @ begins an abstract name, which is no file
    if (flags === undefined || path === undefined || path.startsWith("@")) continue;
    if ((Number.parseInt(flags, 16) & acceptsConnections) !== 0) paths.push(path);
  }
  return paths;
}

interface Inode {
  readonly dev: bigint;
  readonly ino: bigint;
}

async function inodeOf(path: string): Promise<Inode | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return { dev, ino };
  } catch {
    return undefined;
  }
}

function same(a: Inode, b: Inode): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

function notFound(name: string, url: string, why: string): StatusError {
  const remedy = "run the manager with hostPID, or register a unix:// or tcp:// URL that this node can dial";
  return statusError(Code.INVALID_ARGUMENT, `endpoint ${name}: socket ${url} cannot be found, ${why}; ${remedy}`);
}
