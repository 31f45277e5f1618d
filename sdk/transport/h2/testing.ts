/** Servers, clients and bare sockets for the tests of this folder. */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Client, Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import type { Cleanup } from "../../testing/test-server.js";
import { type CallStatus, openConnection } from "./client.js";
import { createGrpcServer, type ServedMethod } from "./server.js";

const pass = (bytes: Buffer): Buffer => bytes;

export const echo: ServedMethod = {
  input: "single",
  serve(call, message) {
    call.header([]);
    call.write(message ?? Buffer.alloc(0));
    call.finish();
  },
};

export async function serve(t: Cleanup, methods: Record<string, ServedMethod>): Promise<number> {
  const grpc = createGrpcServer({
    methods: new Map(Object.entries(methods)),
    maxMessageBytes: 4_194_304,
    maxStreamsPerConnection: 1500,
  });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    grpc.serve(socket, { kind: "self" });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

export async function serveGrpcJs(t: Cleanup): Promise<number> {
  const server = new Server({ "grpc.max_receive_message_length": -1 });
  server.register(
    "/s/Echo",
    (call: { request: Buffer }, done: (error: null, value: Buffer) => void) => done(null, call.request),
    pass,
    pass,
    "unary",
  );
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

export function open(t: Cleanup, port: number): Promise<ReturnType<typeof openConnection>> {
  return new Promise((resolve, reject) => {
    const connection = openConnection({
      socket: connect(port, "127.0.0.1"),
      secure: false,
      authority: "localhost",
      maxMessageBytes: 4_194_304,
      onReady: () => resolve(connection),
      onGone: () => reject(new Error("gone")),
    });
    t.after(() => connection.destroy("the test is over"));
  });
}

export function run(
  connection: ReturnType<typeof openConnection>,
  path: string,
  message: Buffer,
): Promise<{ messages: Buffer[]; status: CallStatus }> {
  return new Promise((resolve) => {
    const messages: Buffer[] = [];
    connection.call(
      { path, fields: [], message, deadlineMs: Date.now() + 20_000, paced: false },
      { message: (bytes) => messages.push(bytes), end: (status) => resolve({ messages, status }) },
    );
  });
}

export function ask(client: Client, path: string, message: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, pass, pass, message, new Metadata(), (error, value) =>
      error === null ? resolve(value as Buffer) : reject(error),
    );
  });
}

/** One call by Node's own HTTP/2, with any headers and bytes; its grpc-status. */
export function raw(t: Cleanup, port: number, headers: Record<string, string>, body: Buffer): Promise<string> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  t.after(() => session.destroy());
  return new Promise((resolve) => {
    const stream = session.request({
      ":method": "POST",
      ":path": "/s/Echo",
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const tell = (answer: Record<string, unknown>): void => {
      if (answer["grpc-status"] !== undefined) resolve(String(answer["grpc-status"]));
      else if (answer[":status"] !== undefined && answer[":status"] !== 200) resolve(`http ${answer[":status"]}`);
    };
    stream.on("error", () => {});
    stream.on("response", tell);
    stream.on("trailers", tell);
    stream.resume();
    stream.end(body);
  });
}

export function framed(message: Buffer, compressed: number): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

export function frame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** Says hello as a client does. */
export async function speak(t: Cleanup, port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  t.after(() => void socket.destroy());
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0))]));
  socket.resume();
  return socket;
}

/** The code of the first GOAWAY among these frames; 0 = there is none, or it names no fault. */
export function goAwayCode(bytes: Buffer): number {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === 7) return bytes.readUInt32BE(at + 13);
  }
  return 0;
}

export async function until(met: () => boolean): Promise<void> {
  for (const end = Date.now() + 15_000; !met(); ) {
    assert.ok(Date.now() < end, "it did not come to pass");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until a figure stops changing. */
export async function settled(figure: () => number): Promise<void> {
  let before = -1;
  for (let same = 0; same < 20; ) {
    same = figure() === before && before > 0 ? same + 1 : 0;
    before = figure();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
