import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { send, sendDescriptor } from "../../linux/descriptors.js";
import type { Inode } from "../../peer.js";
import { openPassingStream, type PassingStream } from "./passing-stream.js";
import { allClosed, bareDescriptors, ended, inFolder, openDescriptors, streamPair } from "./testing.js";

const ownNetns = "/proc/self/ns/net";
const never = new AbortController().signal;

function inodeOf(path: string): Inode {
  const { dev, ino } = statSync(path, { bigint: true });
  return { dev, ino };
}

/** Everything that comes, until the other end closes. */
async function all({ stream }: PassingStream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function withSockets<T>(count: number, run: (paths: string[]) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    const servers = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const server = createServer().listen(join(folder, `${index}`));
        await once(server, "listening");
        return server;
      }),
    );
    try {
      return await run(servers.map((_, index) => join(folder, `${index}`)));
    } finally {
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    }
  });
}

test("a namespace goes over with the bytes that name it, and arrives once", async () => {
  const before = openDescriptors();
  const [client, server] = await streamPair();
  const read = all(server);
  const sent = client.descriptors.send(ownNetns);
  assert.deepEqual(sent, inodeOf(ownNetns));
  client.descriptors.send(ownNetns);
  const waiting = server.descriptors.wait(sent, never);
  client.stream.end("hello");
  const file = await waiting;
  assert.deepEqual(inodeOf(file.path), sent);
  file.close();
  file.close();
  const again = server.descriptors.take(sent);
  assert.ok(again);
  again.close();
  assert.equal((await read).toString(), "hello");
  await ended(client, server);
  await allClosed(before);
});

test("sockets and namespaces are kept, every other kind of file is closed at once", async () => {
  await withSockets(1, ([path = ""]) =>
    inFolder(async (folder) => {
      const before = openDescriptors();
      const [client, server] = await streamPair();
      writeFileSync(join(folder, "file"), "x");
      mkdirSync(join(folder, "dir"));
      const wrong = [join(folder, "file"), join(folder, "dir"), "/dev/null", "/proc/self/status", "/dev/zero"];
      const inodes = wrong.map((one) => client.descriptors.send(one));
      const socket = client.descriptors.send(path);
      client.stream.write("0123456789");
      server.stream.resume();
      const file = await server.descriptors.wait(socket, never);
      assert.deepEqual(inodeOf(file.path), inodeOf(path));
      for (const inode of inodes) assert.equal(server.descriptors.take(inode), undefined);
      file.close();
      await ended(client, server);
      await allClosed(before);
    }),
  );
});

test("at most 64 descriptors go with one write, the others with the next; no byte is lost", async () => {
  await withSockets(70, async (paths) => {
    const before = openDescriptors();
    const [client, server] = await streamPair();
    const read = all(server);
    const inodes = paths.map((path) => client.descriptors.send(path));
    const text = "x".repeat(100);
    await new Promise((resolve) => client.stream.write(text, resolve));
    const first = await server.descriptors.wait(inodes[63] as Inode, never);
    first.close();
    assert.equal(server.descriptors.take(inodes[64] as Inode), undefined);
    client.stream.end("abcdef");
    const last = await server.descriptors.wait(inodes[69] as Inode, never);
    last.close();
    assert.equal((await read).toString(), `${text}abcdef`);
    await ended(client, server);
    await allClosed(before);
  });
});

test("a descriptor that cannot be opened is said at once, with its error", async () => {
  const [client, server] = await streamPair();
  assert.throws(() => client.descriptors.send("/nowhere/at/all"), { code: "ENOENT" });
  await ended(client, server);
  assert.throws(() => client.descriptors.send(ownNetns), { code: "EPIPE" });
});

test("who waits is told when the request ends, and when the connection does", async () => {
  const before = openDescriptors();
  const [client, server] = await streamPair();
  server.stream.resume();
  const request = new AbortController();
  const cut = server.descriptors.wait({ dev: 1n, ino: 2n }, request.signal);
  const lost = server.descriptors.wait({ dev: 1n, ino: 2n }, never);
  request.abort(new Error("the caller has gone"));
  await assert.rejects(cut, /the caller has gone/);
  await assert.rejects(server.descriptors.wait({ dev: 1n, ino: 2n }, request.signal), /the caller has gone/);
  const closed = once(server.stream, "close");
  client.stream.destroy();
  await assert.rejects(lost, { code: 14 });
  await closed;
  await assert.rejects(server.descriptors.wait({ dev: 1n, ino: 2n }, never), { code: 14 });
  await ended(client);
  await allClosed(before);
});

test("a slow reader holds the writer back, and megabytes arrive whole with descriptors between them", async () => {
  const before = openDescriptors();
  const [client, server] = await streamPair();
  const block = Buffer.from(Array.from({ length: 256 * 1024 }, (_, index) => index % 251));
  let finished = 0;
  for (let index = 0; index < 16; index++) {
    client.descriptors.send(ownNetns);
    client.stream.write(block, () => finished++);
  }
  client.stream.end();
  // nobody reads yet: the kernel's buffer is full long before all of it
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(finished < 16);
  const got = await all(server);
  assert.equal(got.length, 16 * block.length);
  for (let index = 0; index < 16; index++)
    assert.ok(got.subarray(index * block.length, (index + 1) * block.length).equals(block));
  assert.equal(finished, 16);
  await ended(client, server);
  await allClosed(before);
});

test("a connection that breaks ends the stream with an error or an end, not the process", async () => {
  const before = openDescriptors();
  const [bare, other] = await bareDescriptors();
  const { stream } = openPassingStream(bare);
  const errors: unknown[] = [];
  stream.on("error", (error) => errors.push(error));
  stream.resume();
  const closed = once(stream, "close").catch(() => {});
  // unread bytes at the other end make the kernel reset the connection
  stream.write("unread");
  closeSync(other);
  stream.write("more");
  await closed;
  assert.ok(stream.destroyed);
  await allClosed(before);
});

test("a flood of descriptors costs no more than the bound, and never one of another connection", async () => {
  await withSockets(40, async (paths) => {
    const before = openDescriptors();
    const [quiet, flooded] = await Promise.all([streamPair({ max: 8 }), streamPair({ max: 8 })]);
    const mine = quiet[0].descriptors.send(ownNetns);
    quiet[0].stream.write("a");
    quiet[1].stream.resume();
    (await quiet[1].descriptors.wait(mine, never)).close();
    flooded[1].stream.resume();
    const base = openDescriptors();
    for (let round = 0; round < 20; round++) {
      for (const path of paths) flooded[0].descriptors.send(path);
      await new Promise((resolve) => flooded[0].stream.write("y".repeat(64), resolve));
      const last = await flooded[1].descriptors.wait(inodeOf(paths[39] ?? ""), never);
      last.close();
      assert.ok(openDescriptors() <= base + 8, `${openDescriptors()} open, ${base} at first`);
    }
    assert.equal(flooded[1].descriptors.take(inodeOf(paths[0] ?? "")), undefined);
    quiet[1].descriptors.take(mine)?.close();
    await ended(...quiet, ...flooded);
    await allClosed(before);
  });
});

test("what nobody asks for is closed after its time", async () => {
  const before = openDescriptors();
  const [client, server] = await streamPair({ keepMs: 5 });
  server.stream.resume();
  const sent = client.descriptors.send(ownNetns);
  client.stream.write("a");
  (await server.descriptors.wait(sent, never)).close();
  const isKept = (): boolean => {
    const file = server.descriptors.take(sent);
    file?.close();
    return file !== undefined;
  };
  while (isKept()) await new Promise((resolve) => setTimeout(resolve, 5));
  await ended(client, server);
  await allClosed(before);
});

test("any mixture of bytes, fragments and descriptors from a peer leaves the bytes whole and nothing open", async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("bytes" as const), length: fc.integer({ min: 1, max: 4000 }) }),
    fc.record({ kind: fc.constant("file" as const), path: fc.constantFrom(ownNetns, "/dev/null", "/proc/self/ns/uts", "/") }),
    fc.record({ kind: fc.constant("turn" as const) }),
  );
  const before = openDescriptors();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, polite) => {
      const [bare, other] = await bareDescriptors();
      const server = openPassingStream(bare);
      server.stream.on("error", () => {});
      const read = all(server).catch(() => Buffer.alloc(0));
      let sent = 0;
      for (const one of steps) {
        if (one.kind === "bytes") sent += send(other, Buffer.alloc(one.length, 1));
        if (one.kind === "turn") await new Promise((resolve) => setImmediate(resolve));
        if (one.kind === "file") {
          const fd = openSync(one.path, "r");
          if (sendDescriptor(other, 1, fd)) sent++;
          closeSync(fd);
        }
      }
      if (!polite) server.stream.destroy();
      closeSync(other);
      const got = await read;
      if (polite) assert.equal(got.length, sent);
      await ended(server);
    }),
    { numRuns: 60 },
  );
  await allClosed(before);
});
