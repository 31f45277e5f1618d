/** Pieces of the tests of descriptors: pairs of connected unix sockets, and a count of what this process has open. */
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
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

export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
