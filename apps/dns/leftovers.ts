/** Rules for names of endpoints that a process has left behind which was killed: without effect, and in nobody's care. */
import { openAllNetns } from "../../sdk/linux/all-netns.js";
import { claimName } from "../../sdk/linux/inet-socket.js";
import { closeDescriptor } from "../../sdk/linux/libc.js";
import { type NetnsHandle, openNetns } from "../../sdk/linux/netns.js";
import { diversionIn, dnsClaim } from "./divert.js";

export interface Leftover {
  /** Of the namespace. */
  readonly url: string;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Unless somebody serves the names there by now. */
  remove(): Promise<void>;
}

/** In every namespace that can be seen from here. Where nft is missing nothing has been made either. */
export async function findLeftovers(): Promise<Leftover[]> {
  const found: Leftover[] = [];
  const places = openAllNetns();
  try {
    for (const { url, netns } of places) {
      const isLeft = await unlessServed(netns, () => diversionIn(netns).isThere());
      if (isLeft === true) found.push({ url, dev: netns.dev, ino: netns.ino, remove: () => removeAt(url, netns) });
    }
  } finally {
    for (const { netns } of places) netns.close();
  }
  return found;
}

async function removeAt(url: string, { dev, ino }: { readonly dev: bigint; readonly ino: bigint }): Promise<void> {
  const netns = openNetns(url);
  try {
    if (netns.dev === dev && netns.ino === ino) await unlessServed(netns, () => diversionIn(netns).remove());
  } finally {
    netns.close();
  }
}

/** Undefined: a process has the pod's names in its care, or we may not look. */
async function unlessServed<T>(netns: NetnsHandle, run: () => Promise<T>): Promise<T | undefined> {
  let claimFd: number | undefined;
  try {
    claimFd = claimName(netns, dnsClaim);
  } catch {
    return undefined;
  }
  if (claimFd === undefined) return undefined;
  try {
    return await run();
  } finally {
    closeDescriptor(claimFd);
  }
}
