/** How messages name files: in a process by path, on a connection that passes descriptors by inode. */
import { statSync } from "node:fs";
import type { Mechanism } from "../../gen/connection.js";
import { findNetns } from "../../linux/find-netns.js";
import { inodeUrl } from "../../linux/netns-url.js";
import { sharedParameter } from "../../mechanisms/parameters.js";
import type { Descriptors, Inode } from "../../peer.js";
import { Code, statusError } from "../../status.js";

/** Names of files as one side writes them, and as the other does. */
export type Renaming = ReadonlyMap<string, string>;

/** The file that a mechanism names; undefined = none. */
export function fileUrlOf(mechanism: Mechanism | undefined): string | undefined {
  const parameters = mechanism?.parameters ?? {};
  const url = Object.hasOwn(parameters, sharedParameter.inodeUrl) ? parameters[sharedParameter.inodeUrl] : undefined;
  return url === "" ? undefined : url;
}

/** The same mechanism object when nothing changes. */
export function renameMechanism<M extends Mechanism | undefined>(mechanism: M, renaming: Renaming): M {
  if (mechanism === undefined) return mechanism;
  const url = fileUrlOf(mechanism);
  const other = url === undefined ? undefined : renaming.get(url);
  if (other === undefined || other === url) return mechanism;
  return { ...mechanism, parameters: { ...mechanism.parameters, [sharedParameter.inodeUrl]: other } };
}

export function inverse(renaming: Renaming): Renaming {
  return new Map([...renaming].map(([from, to]) => [to, from]));
}

export function parseInodeUrl(url: string): Inode | undefined {
  const [, dev, ino] = /^inode:\/\/(\d{1,20})\/(\d{1,20})$/.exec(url) ?? [];
  return dev === undefined || ino === undefined ? undefined : { dev: BigInt(dev), ino: BigInt(ino) };
}

/**
 * Sends the file that a url names, and gives its name on the wire. Undefined: it is no file of this machine, or cannot be
 * opened; then the url goes as it is, and the other end says what it thinks of it.
 * @throws UNAVAILABLE the connection has ended; RESOURCE_EXHAUSTED too many wait to be sent
 */
export function sendFile(url: string, descriptors: Descriptors): string | undefined {
  const path = pathOf(url);
  if (path === undefined) return undefined;
  try {
    return inodeUrl(descriptors.send(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EPIPE") throw statusError(Code.UNAVAILABLE, "the connection has ended", error);
    if (code === "EBUSY" || code === "EMFILE") {
      throw statusError(Code.RESOURCE_EXHAUSTED, `cannot send the descriptor of ${url}: ${code}`, error);
    }
    return undefined;
  }
}

const ownNetns = "/proc/thread-self/ns/net";

function pathOf(url: string): string | undefined {
  if (url.startsWith("file:///")) return url.slice("file://".length);
  if (url.startsWith("unix:")) {
    const path = url.replace(/^unix:(\/\/)?/, "");
    return path.startsWith("/") ? path : undefined;
  }
  const inode = parseInodeUrl(url);
  if (inode === undefined) return undefined;
  const own = statSync(ownNetns, { bigint: true });
  if (own.dev === inode.dev && own.ino === inode.ino) return ownNetns;
  const known = openFiles.get(url);
  return known !== undefined && isThere(known, inode) ? known : findNetns(inode.dev, inode.ino);
}

/** Paths of files that came as descriptors, by the url under which their owner knows them. */
const openFiles = new Map<string, string>();

/** From now on that file can be sent back to its owner under the owner's name of it; undefined: it is closed. */
export function rememberFile(url: string, path: string | undefined): void {
  if (path === undefined) openFiles.delete(url);
  else openFiles.set(url, path);
}

/** The same number may be another file by now. */
function isThere(path: string, inode: Inode): boolean {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat !== undefined && stat.dev === inode.dev && stat.ino === inode.ino;
}
