/**
 * NOT VPP: a small server of ours that speaks VPP's socket protocol, for machines without VPP. It has a message table with
 * crcs, answers requests, keeps the state that they make (fake-state.ts), and can be told to misbehave. It moves no packet.
 */
import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { compileMessage, type MessageCodec, type Values } from "../codec.js";
import { builtIn } from "../definitions.js";
import { createDeframer, frame } from "../frames.js";
import { handshake } from "../message-table.js";
import { createFakeState, type FakeState } from "./fake-state.js";

export interface FakeVpp {
  readonly socketPath: string;
  readonly state: FakeState;
  /** How many messages it offers. */
  readonly messages: number;
  /** Requests by name, in the order in which they came. */
  readonly heard: readonly string[];
  /** Reads and does not answer any more, until `wake`. */
  hang(): void;
  wake(): void;
  /** Ends every connection at once, as a killed process does. */
  die(): void;
  /** Sends bytes as they are to every client. */
  send(bytes: Buffer): void;
  /** The number of a message in this server. */
  idOf(name: string): number | undefined;
  /** An event message to every client. */
  tell(name: string, values: Values): void;
  close(): Promise<void>;
}

export interface FakeOptions {
  readonly socketPath: string;
  /** Changes what is offered: undefined = not offered, else the "name_crc" that is told. */
  readonly offer?: (nameCrc: string) => string | undefined;
  /** How answers are cut on their way, in bytes; default: not at all. */
  readonly chunkBytes?: number;
  readonly version?: string;
  readonly pid?: number;
}

/** Ids begin somewhere else in every server: whoever remembers them is found out. */
let firstId = 20;

export async function startFakeVpp(options: FakeOptions): Promise<FakeVpp> {
  const { socketPath, offer = (name) => name, chunkBytes = Number.POSITIVE_INFINITY } = options;
  const state = createFakeState({ version: options.version ?? "26.06-fake", pid: options.pid ?? process.pid });
  const heard: string[] = [];
  const sockets = new Set<Socket>();
  const codecs = new Map<number, MessageCodec>();
  const ids = new Map<string, number>();
  const table: { index: number; name: string }[] = [];
  firstId += 7;
  for (const [key, message] of [...builtIn.messages].reverse()) {
    const name = offer(key);
    if (name === undefined) continue;
    const index =
      { sockclnt_create: handshake.requestId, sockclnt_create_reply: handshake.replyId }[message.name] ?? firstId + table.length;
    codecs.set(index, compileMessage(message, builtIn.types));
    ids.set(message.name, index);
    table.push({ index, name });
  }
  let hanging = false;
  const held: (() => void)[] = [];
  const encode = (name: string, values: Values): Buffer => {
    const id = ids.get(name);
    const codec = id === undefined ? undefined : codecs.get(id);
    if (id === undefined || codec === undefined) throw new Error(`the fake does not offer ${name}`);
    return frame(codec.encode(id, values));
  };
  const answer = (socket: Socket, message: Buffer): void => {
    const codec = codecs.get(message.readUInt16BE(0));
    if (codec === undefined) return;
    const values = codec.decode(message);
    heard.push(codec.name);
    const greeting = { client_index: 0, response: 0, index: 77, count: table.length, message_table: table };
    const replies: { readonly name: string; readonly values: Values }[] =
      codec.name === "sockclnt_create" ? [{ name: "sockclnt_create_reply", values: greeting }] : state.answer(codec.name, values);
    for (const reply of replies) {
      const bytes = encode(reply.name, { ...reply.values, context: values["context"] ?? 0 });
      for (let at = 0; at < bytes.length; at += chunkBytes) socket.write(bytes.subarray(at, at + chunkBytes));
    }
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    const take = (message: Buffer): void => {
      if (hanging) held.push(() => answer(socket, message));
      else answer(socket, message);
    };
    socket.on("data", createDeframer(take));
  });
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const die = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    socketPath,
    state,
    messages: table.length,
    heard,
    hang() {
      hanging = true;
    },
    wake() {
      hanging = false;
      for (const each of held.splice(0)) each();
    },
    die,
    idOf: (name) => ids.get(name),
    send: (bytes) => {
      for (const socket of sockets) socket.write(bytes);
    },
    tell: (name, values) => {
      for (const socket of sockets) socket.write(encode(name, values));
    },
    async close() {
      die();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
