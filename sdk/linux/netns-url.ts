/**
 * The forms in which a network namespace is named (mechanism parameter `inodeURL`):
 *   file:///proc/PID/ns/net, file:///run/netns/NAME   a file of nsfs
 *   inode://DEV/INO                                   st_dev and st_ino of that file, decimal and unsigned
 *   NAME                                              a file under /run/netns, as `ip netns` names them
 */
import { statSync } from "node:fs";
import { Code, statusError } from "../status.js";

export type NetnsUrl =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "inode"; readonly dev: bigint; readonly ino: bigint };

export const netnsFolder = "/run/netns";

/**
 * Reads a namespace URL.
 * @throws INVALID_ARGUMENT it has none of the forms
 */
export function parseNetnsUrl(url: string): NetnsUrl {
  const inode = /^inode:\/\/(\d{1,20})\/(\d{1,20})$/.exec(url);
  if (inode?.[1] !== undefined && inode[2] !== undefined) return { kind: "inode", dev: BigInt(inode[1]), ino: BigInt(inode[2]) };
  if (url.startsWith("file://")) {
    const path = url.slice("file://".length);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
    if (path.startsWith("/") && path.length <= 4095 && !/[\u0000-\u001f]/.test(path) && !path.split("/").includes("..")) {
      return { kind: "file", path };
    }
  }
  if (isNetnsName(url)) return { kind: "file", path: `${netnsFolder}/${url}` };
  throw statusError(
    Code.INVALID_ARGUMENT,
    `network namespace ${JSON.stringify(url.slice(0, 200))}: expected file:///ABSOLUTE/PATH, inode://DEV/INO or a name under ${netnsFolder}`,
  );
}

/** Whether it can be a file name under /run/netns. */
export function isNetnsName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/.test(name);
}

/** inode://DEV/INO, the form used on the wire over unix sockets. */
export function inodeUrl(inode: { readonly dev: bigint; readonly ino: bigint }): string {
  return `inode://${inode.dev}/${inode.ino}`;
}

/** Device and inode of a file; undefined: there is none, or it is not ours to see (the namespace of another user's process). */
export function inodeOf(path: string): { readonly dev: bigint; readonly ino: bigint } | undefined {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? undefined : { dev: stat.dev, ino: stat.ino };
  } catch {
    return undefined;
  }
}
