/** Pieces of the tests of descriptors: pairs of connected unix sockets, and a count of what this process has open. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplicate } from "../../linux/descriptors.js";
import { descriptorOf } from "../unix-peer.js";
import { openPassingStream, type PassingStream } from "./passing-stream.js";
import type { ReceivedOptions } from "./received.js";

/** A folder that is gone when `run` is done. */
export async function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "weft-fd-"));
  try {
    return await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Both ends of one connection, as bare descriptors for the caller to close. */
export async function bareDescriptors(): Promise<[number, number]> {
  return inFolder(async (folder) => {
    const path = join(folder, "s");
    const server = createServer();
    server.listen(path);
    await once(server, "listening");
    const pair: [number, number] = [-1, -1];
    const accepted = new Promise<void>((resolve) =>
      server.once("connection", (socket) => {
        pair[0] = bare(socket);
        resolve();
      }),
    );
    const client = connect(path, () => {
      pair[1] = bare(client);
    });
    await Promise.all([accepted, once(client, "close")]);
    await new Promise((resolve) => server.close(resolve));
    return pair;
  });
}

function bare(socket: Socket): number {
  const fd = duplicate(descriptorOf(socket) ?? -1);
  socket.destroy();
  return fd;
}

export async function streamPair(options?: ReceivedOptions): Promise<[PassingStream, PassingStream]> {
  const [one, other] = await bareDescriptors();
  return [openPassingStream(one, options), openPassingStream(other, options)];
}

export async function ended(...streams: PassingStream[]): Promise<void> {
  await Promise.all(
    streams.map(({ stream }) => {
      if (stream.closed) return undefined;
      const closed = new Promise((resolve) => stream.once("close", resolve));
      stream.destroy();
      return closed;
    }),
  );
}

/**
 * How many descriptors of the kinds that these tests open this process has: sockets, namespaces, the files they send.
 * Others belong to Node itself and come and go.
 */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").filter((fd) => ours.test(linkOf(`/proc/self/fd/${fd}`))).length;
}
const ours = /^(socket:|net:|uts:|\/$|\/dev\/(null|zero)$|\/proc\/self\/status$|.*weft-fd-)/;

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** Waits until no more of them are open than before: closing a socket takes a turn or two. */
export async function allClosed(before: number): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (openDescriptors() > before) {
    assert.ok(performance.now() < endMs, `${openDescriptors()} open, ${before} before`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
