/**
 * A connection to VPP's binary API over its unix socket: one ordered pipeline. Calls do not wait for each other; VPP answers
 * them one after another. Every call ends within a bounded time.
 */
import { connect, type Socket } from "node:net";
import { Code, type StatusError, statusError } from "../../sdk/status.js";
import { compileMessage, type Definitions, type MessageCodec, type Values } from "./codec.js";
import { builtIn } from "./definitions.js";
import { createDeframer, frame } from "./frames.js";
import { handshake, type MessageTable, readMessageTable } from "./message-table.js";
import { refusal } from "./refusals.js";

export interface VppApi {
  /** Whether the running VPP has the message in a form that is known here. */
  offers(name: string): boolean;
  /**
   * @throws FAILED_PRECONDITION VPP lacks the message; DEADLINE_EXCEEDED no answer in time: whether it was done is not known;
   *         UNAVAILABLE the connection has ended; else what VPP's return value means, with `retval`
   */
  call(name: string, values?: Values): Promise<Values>;
  /** All the details of a dump. @throws as `call` */
  dump(name: string, values?: Values): Promise<readonly Values[]>;
  /** Messages that nobody has asked for, such as sw_interface_event. The result ends it. */
  onEvent(name: string, listener: (values: Values) => void): () => void;
  /** Called once when the connection ends, but not by `close`. */
  onLost(listener: (reason: string) => void): void;
  /** When VPP was last heard, in milliseconds of performance.now(). */
  heardAtMs(): number;
  /** Calls that wait for an answer. */
  pending(): number;
  /** What VPP told of itself. */
  readonly pid: number;
  readonly version: string;
  readonly messages: number;
  /** Ends the connection as if it had been lost. */
  end(reason: string): void;
  close(): Promise<void>;
}

export interface ConnectOptions {
  readonly socketPath: string;
  /** From the running VPP's files; undefined = only what is built in. */
  readonly definitions?: Definitions | undefined;
  /** For the handshake and for each call. */
  readonly timeoutMs?: number;
}

/** Upstream gives every call at least 2 s; a main thread that waits for workers and page faults may need more. */
export const defaultTimeoutMs = 5_000;

interface Call {
  readonly name: string;
  readonly deadlineMs: number;
  readonly details: Values[] | undefined;
  resolve(values: Values | readonly Values[]): void;
  reject(error: StatusError): void;
}

/** @throws UNAVAILABLE nobody listens there; FAILED_PRECONDITION what listens there is no VPP; DEADLINE_EXCEEDED */
export async function connectVpp({ socketPath, definitions, timeoutMs = defaultTimeoutMs }: ConnectOptions): Promise<VppApi> {
  const socket = await dial(socketPath, timeoutMs);
  try {
    const { table, clientIndex } = await shakeHands(socket, definitions, timeoutMs, socketPath);
    const talk = converse(socket, table, clientIndex, timeoutMs);
    const { vpe_pid: pid } = await talk.call("control_ping");
    const { version } = table.offers("show_version") ? await talk.call("show_version") : { version: "" };
    return { ...talk, pid: Number(pid), version: String(version), messages: table.size };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function dial(socketPath: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const refuse = (why: string, cause?: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      const text = `VPP's API socket ${socketPath}: ${why}; is VPP running, with "socksvr { socket-name … }" in its start.conf?`;
      reject(statusError(Code.UNAVAILABLE, text, cause));
    };
    const timer = setTimeout(() => refuse("no connection in time"), timeoutMs);
    socket.once("error", (error: NodeJS.ErrnoException) => refuse(error.code ?? error.message, error));
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

interface Greeting {
  readonly table: MessageTable;
  readonly clientIndex: number;
}

/** The first exchange: our name against the numbers of all messages. */
function shakeHands(
  socket: Socket,
  definitions: Definitions | undefined,
  timeoutMs: number,
  socketPath: string,
): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      act();
    };
    const refuse = (code: Code, why: string): void =>
      settle(() => reject(statusError(code, `VPP's API socket ${socketPath}: ${why}`)));
    const timer = setTimeout(() => refuse(Code.DEADLINE_EXCEEDED, "no answer to the handshake; VPP hangs"), timeoutMs);
    socket.once("error", ({ message }) => refuse(Code.UNAVAILABLE, message));
    socket.once("close", () => refuse(Code.UNAVAILABLE, "closed during the handshake"));
    const deframe = createDeframer((message) => {
      try {
        const reply = greeting("sockclnt_create_reply").decode(message);
        if (message.readUInt16BE(0) !== handshake.replyId || reply["response"] !== 0) throw new Error("no VPP");
        const table = readMessageTable(reply["message_table"] as readonly Values[], definitions);
        settle(() => resolve({ table, clientIndex: Number(reply["index"]) }));
      } catch (error) {
        const said = error instanceof Error ? error.message : "";
        refuse(Code.FAILED_PRECONDITION, `what answers there does not speak VPP's binary API (${said})`);
      }
    });
    socket.on("data", (chunk: Buffer) => {
      try {
        deframe(chunk);
      } catch (error) {
        const said = error instanceof Error ? error.message : "";
        refuse(Code.FAILED_PRECONDITION, `what answers there does not speak VPP's binary API (${said})`);
      }
    });
    socket.write(frame(greeting("sockclnt_create").encode(handshake.requestId, { context: 1, name: "weft" })));
  });
}

function greeting(name: string): MessageCodec {
  const message = [...builtIn.messages.values()].find((each) => each.name === name);
  if (message === undefined) throw new Error(`${name} is not built in`);
  return compileMessage(message, builtIn.types);
}

/** How often deadlines are looked at, in milliseconds. */
const sweepMs = 100;

function converse(socket: Socket, table: MessageTable, clientIndex: number, timeoutMs: number) {
  const calls = new Map<number, Call>();
  const listeners = new Map<string, Set<(values: Values) => void>>();
  const losses = new Set<(reason: string) => void>();
  let context = 0;
  let heardAtMs = performance.now();
  let closing = false;
  let lostBecause: string | undefined;
  let sweeping: NodeJS.Timeout | undefined;

  const lose = (reason: string): void => {
    if (lostBecause !== undefined) return;
    lostBecause = reason;
    clearInterval(sweeping);
    socket.destroy();
    for (const { name, reject } of calls.values())
      reject(statusError(Code.UNAVAILABLE, `VPP: ${reason} while it was asked for ${name}; ask again`));
    calls.clear();
    if (!closing) for (const each of [...losses]) each(reason);
  };
  const sweep = (): void => {
    const nowMs = performance.now();
    for (const [which, { name, deadlineMs, reject }] of calls) {
      // In the order of asking, so the first that has time left ends the search.
      if (deadlineMs > nowMs) break;
      calls.delete(which);
      const text = `VPP did not answer ${name} within ${timeoutMs} ms; whether it was done is not known`;
      reject(statusError(Code.DEADLINE_EXCEEDED, text));
    }
    if (calls.size === 0) {
      clearInterval(sweeping);
      sweeping = undefined;
    }
  };
  const take = (message: Buffer): void => {
    heardAtMs = performance.now();
    const codec = table.byId(message.readUInt16BE(0));
    if (codec === undefined) return;
    const told = listeners.get(codec.name);
    if (told !== undefined) {
      const values = codec.decode(message);
      for (const each of [...told]) each(values);
      return;
    }
    if (message.length < 6) throw new Error(`a ${codec.name} of ${message.length} bytes`);
    const which = message.readUInt32BE(2);
    const call = calls.get(which);
    if (call === undefined) return;
    settle(calls, which, call, codec, message);
  };
  const deframe = createDeframer(take);
  socket.on("data", (chunk: Buffer) => {
    try {
      deframe(chunk);
    } catch (error) {
      lose(`sent what cannot be read (${error instanceof Error ? error.message : ""})`);
    }
  });
  socket.on("error", () => {});
  socket.once("close", () => lose("the connection has ended"));

  let corked = false;
  const write = (framed: Buffer): void => {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(() => {
        corked = false;
        socket.uncork();
      });
    }
    socket.write(framed);
  };
  const ask = <T extends Values | readonly Values[]>(name: string, values: Values, isDump: boolean): Promise<T> => {
    if (lostBecause !== undefined)
      return Promise.reject(statusError(Code.UNAVAILABLE, `VPP: ${lostBecause}; ask again when it is back`));
    context = (context + 1) >>> 0;
    const which = context;
    const framed: Buffer[] = [];
    try {
      const { id, codec } = table.codec(name);
      framed.push(frame(codec.encode(id, { ...values, client_index: clientIndex, context: which })));
      const ping = isDump ? table.codec("control_ping") : undefined;
      if (ping) framed.push(frame(ping.codec.encode(ping.id, { client_index: clientIndex, context: which })));
    } catch (error) {
      return Promise.reject(error);
    }
    sweeping ??= setInterval(sweep, sweepMs).unref();
    return new Promise<T>((resolve, reject) => {
      const details = isDump ? [] : undefined;
      const deadlineMs = performance.now() + timeoutMs;
      calls.set(which, { name, deadlineMs, details, resolve: resolve as Call["resolve"], reject });
      for (const each of framed) write(each);
    });
  };
  return {
    offers: table.offers,
    call: (name: string, values: Values = {}) => ask<Values>(name, values, false),
    dump: (name: string, values: Values = {}) => ask<readonly Values[]>(name, values, true),
    onEvent(name: string, listener: (values: Values) => void) {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener));
      return () => void set.delete(listener);
    },
    onLost: (listener: (reason: string) => void) => void losses.add(listener),
    heardAtMs: () => heardAtMs,
    pending: () => calls.size,
    end: lose,
    async close() {
      closing = true;
      lose("closed by us");
    },
  };
}

/** An answer to one call: a detail of a dump, the end of one, or the reply. */
function settle(calls: Map<number, Call>, which: number, call: Call, codec: MessageCodec, message: Buffer): void {
  const { name, details, resolve, reject } = call;
  const isEnd = details === undefined ? codec.name === `${name}_reply` : codec.name === "control_ping_reply";
  if (!isEnd && details === undefined) return;
  let values: Values;
  try {
    values = codec.decode(message);
  } catch (error) {
    calls.delete(which);
    const said = error instanceof Error ? error.message : "";
    reject(statusError(Code.DATA_LOSS, `VPP answered ${name} with a ${codec.name} that cannot be read: ${said}`));
    return;
  }
  if (!isEnd) {
    details?.push(values);
    return;
  }
  calls.delete(which);
  const { retval } = values;
  if (details !== undefined) resolve(details);
  else if (typeof retval === "number" && retval < 0) reject(refusal(name, retval));
  else resolve(values);
}
