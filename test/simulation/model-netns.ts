/**
 * Network namespaces of the simulation, in the place of sdk/linux/netns.ts and find-netns.ts: names with inodes, nothing of the
 * kernel. Which one a process is in says the world (its name).
 */
import { inodeUrl, parseNetnsUrl } from "../../sdk/linux/netns-url.js";
import { Code, statusError } from "../../sdk/status.js";

export { inodeUrl, parseNetnsUrl } from "../../sdk/linux/netns-url.js";

const device = 4n;
const inodes = new Map<string, bigint>();
const paths = new Map<bigint, string>();
const firstInode = 1000n;

/** The namespace of that name, new or known. */
export function modelNetns(name: string): { path: string; dev: bigint; ino: bigint } {
  const path = `/run/netns/${name}`;
  let ino = inodes.get(path);
  if (ino === undefined) {
    ino = firstInode + BigInt(inodes.size);
    inodes.set(path, ino);
    paths.set(ino, path);
  }
  return { path, dev: device, ino };
}

export function forgetNamespaces(): void {
  inodes.clear();
  paths.clear();
}

export function openNetns(url: string): { fd: number; dev: bigint; ino: bigint; close(): void } {
  const parsed = parseNetnsUrl(url);
  const path = parsed.kind === "file" ? parsed.path : paths.get(parsed.ino);
  const ino = path === undefined ? undefined : inodes.get(path);
  if (ino === undefined) throw statusError(Code.NOT_FOUND, `network namespace ${url} does not exist`);
  return { fd: -1, dev: device, ino, close() {} };
}

export function openOwnNetns(): ReturnType<typeof openNetns> {
  return openNetns(`file://${modelNetns("own").path}`);
}

export function ownInodeUrl(): string {
  return inodeUrl(modelNetns("own"));
}

export function findNetns(dev: bigint, ino: bigint): string | undefined {
  return dev === device ? paths.get(ino) : undefined;
}

export function rememberNetns(): void {}

function unusable(): never {
  throw new Error("the simulation has no kernel");
}
export const withNetns = unusable;
export const spawnInNetns = unusable;
export const createNamedNetns = unusable;
export const deleteNamedNetns = unusable;
export const openNewNetns = unusable;
export const ownNetnsInode = unusable;
export const inUserNamespace = (): boolean => false;
