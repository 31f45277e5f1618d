/**
 * The packet core in a keeper process: started when nobody serves the socket yet, and talked to over it. The keeper holds
 * every descriptor and outlives us; its worker may die at any time.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { systemError } from "../../sdk/linux/system-error.js";
import { Code, statusError } from "../../sdk/status.js";
import { readBoard } from "./board.js";
import type { PacketCore } from "./core.js";
import { mapShared, nativeFolder } from "./ffi.js";
import { abi, decodeEntries, encodeConnect, encodeDevice, encodePort } from "./wire.js";

const operation = {
  hello: 1,
  addPort: 2,
  removePort: 3,
  setConnect: 4,
  removeConnect: 5,
  list: 6,
  restartWorker: 7,
  end: 8,
  event: 9,
  addDevice: 10,
  removeDevice: 11,
} as const;

/** Size of the board: weft_fast.h, worker.h board_size. */
const boardBytes = 4096 + 64 * 4096 + 128 * 2 * 2048;
const startTimeoutMs = 5_000;
const dialAgainMs = 200;

export interface KeeperOptions {
  readonly socketPath: string;
  /** The keeper ends with its last client: for tests. */
  readonly ephemeral?: boolean;
  /** Program to run; default: the one that was built. */
  readonly program?: string;
  /** Environment of the process; `weft down` finds it by that. */
  readonly processEnv?: Readonly<Record<string, string>>;
  /** Somebody else runs the keeper: it is waited for so long, and none is started. Milliseconds. */
  readonly awaitMs?: number;
}

interface Answer {
  readonly result: number;
  readonly payload: Buffer;
}

/** The program of the core. */
export function coreProgram(): string {
  return join(nativeFolder(), "weft-fast");
}

/** @throws FAILED_PRECONDITION the program is not built or does not start; UNAVAILABLE a keeper of another version */
export async function openKeeperCore(options: KeeperOptions): Promise<PacketCore> {
  const socket = (await dial(options.socketPath)) ?? (await (options.awaitMs === undefined ? startKeeper : awaitKeeper)(options));
  const talk = converse(socket);
  const hello = await talk.call(operation.hello);
  const [version, pid, boardFd, features] = [0, 4, 8, 12].map((offset) => hello.payload.readUInt32LE(offset));
  if (version !== abi) {
    socket.destroy();
    throw statusError(
      Code.UNAVAILABLE,
      `the keeper at ${options.socketPath} has version ${version}, this program ${abi}; end it and its connections with weft-fast`,
    );
  }
  const file = openSync(`/proc/${pid}/fd/${boardFd}`, "r");
  const { memory, unmap } = mapShared(file, boardBytes);
  closeSync(file);
  const slotOf = (slot: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(slot);
    return bytes;
  };
  return {
    addPort: async (port) => (await talk.call(operation.addPort, encodePort(port))).result,
    removePort: async (slot) => void (await talk.call(operation.removePort, slotOf(slot))),
    setConnect: async (each) => (await talk.call(operation.setConnect, encodeConnect(each))).result,
    removeConnect: async (slot) => void (await talk.call(operation.removeConnect, slotOf(slot))),
    async addDevice(device) {
      if (((features ?? 0) & 4) === 0)
        throw statusError(
          Code.FAILED_PRECONDITION,
          `the keeper at ${options.socketPath} is of a version without devices; end it and its connections with weft-fast`,
        );
      return (await talk.call(operation.addDevice, encodeDevice(device))).result;
    },
    removeDevice: async (slot) => void (await talk.call(operation.removeDevice, slotOf(slot))),
    async list() {
      const { result, payload } = await talk.call(operation.list);
      return decodeEntries(payload, result);
    },
    restartWorker: async () => void (await talk.call(operation.restartWorker)),
    board: readBoard(memory),
    features: { sanitized: ((features ?? 0) & 2) !== 0 },
    onChange: talk.onEvent,
    onLost: talk.onLost,
    async close() {
      await talk.close();
      unmap();
    },
    async end() {
      await talk.call(operation.end).catch(() => {});
      await talk.closed;
      unmap();
    },
  };
}

/** Undefined: nobody listens there. */
function dial(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "ENOENT" || error.code === "ECONNREFUSED" ? resolve(undefined) : reject(error),
    );
  });
}

async function awaitKeeper({ socketPath, awaitMs = 0 }: KeeperOptions): Promise<Socket> {
  const endMs = performance.now() + awaitMs;
  for (;;) {
    const socket = await dial(socketPath);
    if (socket !== undefined) return socket;
    if (performance.now() > endMs)
      throw statusError(
        Code.UNAVAILABLE,
        `no keeper of the packet core serves ${socketPath}: run \`weft-fast keeper ${socketPath}\``,
      );
    await new Promise((resolve) => setTimeout(resolve, dialAgainMs));
  }
}

async function startKeeper({
  socketPath,
  ephemeral = false,
  program = coreProgram(),
  processEnv = {},
}: KeeperOptions): Promise<Socket> {
  if (!existsSync(program))
    throw statusError(Code.FAILED_PRECONDITION, `${program} is not built; run "npm run build:native" (needs a C compiler)`);
  const child = spawn(program, ["keeper", socketPath, ...(ephemeral ? ["--ephemeral"] : [])], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...processEnv },
  });
  let told = "";
  child.stderr.on("data", (chunk: Buffer) => {
    told = (told + chunk.toString()).slice(-500);
  });
  const ready = new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), startTimeoutMs);
    const done = (good: boolean): void => {
      clearTimeout(timer);
      resolve(good);
    };
    child.stdout.once("data", () => done(true));
    child.once("exit", () => done(false));
    child.once("error", () => done(false));
  });
  const good = await ready;
  const socket = await dial(socketPath);
  child.stdout.destroy();
  child.stderr.destroy();
  child.unref();
  if (socket === undefined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `the keeper of the packet core does not serve ${socketPath}: ${told.trim() || (good ? "it ended" : "it did not start")}`,
    );
  }
  return socket;
}

function converse(socket: Socket) {
  const waiting = new Map<number, { resolve(answer: Answer): void; reject(error: unknown): void }>();
  const events = new Set<() => void>();
  const losses = new Set<() => void>();
  let closing = false;
  let tag = 0;
  let rest: Buffer = Buffer.alloc(0);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("data", (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= 16 && rest.length >= 4 + rest.readUInt32LE(0)) {
      const end = 4 + rest.readUInt32LE(0);
      const [kind, which, result] = [rest.readUInt32LE(4), rest.readUInt32LE(8), rest.readInt32LE(12)];
      const payload = Buffer.from(rest.subarray(16, end));
      rest = rest.subarray(end);
      if (kind === operation.event) for (const each of [...events]) each();
      const call = waiting.get(which);
      if (kind === operation.event || call === undefined) continue;
      waiting.delete(which);
      if (result < 0) call.reject(systemError(payload.toString(), -result));
      else call.resolve({ result, payload });
    }
  });
  socket.on("error", () => {});
  void closed.then(() => {
    for (const { reject } of waiting.values())
      reject(statusError(Code.UNAVAILABLE, "the keeper of the packet core is gone; ask again"));
    waiting.clear();
    if (!closing) for (const each of [...losses]) each();
  });
  const listen = (set: Set<() => void>) => (listener: () => void) => {
    set.add(listener);
    return () => void set.delete(listener);
  };
  return {
    closed,
    onEvent: listen(events),
    onLost: listen(losses),
    call(kind: number, payload: Buffer = Buffer.alloc(0)): Promise<Answer> {
      if (socket.destroyed)
        return Promise.reject(statusError(Code.UNAVAILABLE, "the keeper of the packet core is gone; ask again"));
      const head = Buffer.alloc(12);
      tag = (tag + 1) >>> 0;
      head.writeUInt32LE(8 + payload.length, 0);
      head.writeUInt32LE(kind, 4);
      head.writeUInt32LE(tag, 8);
      return new Promise((resolve, reject) => {
        waiting.set(tag, { resolve, reject });
        socket.write(Buffer.concat([head, payload]));
      });
    },
    async close(): Promise<void> {
      closing = true;
      socket.end();
      socket.destroy();
      await closed;
    },
  };
}
