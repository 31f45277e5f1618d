/**
 * A client that does too much of something, in a process of its own. Standard input: one JSON command a line; standard
 * output: what came of it, one line each. It ends with its standard input.
 */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { ownInodeUrl } from "../../sdk/linux/netns.js";
import { codeName, toStatusError } from "../../sdk/status.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { openConnection } from "../../sdk/transport/h2/client.js";
import { methods } from "../../sdk/transport/methods.js";
import { retryAfterMs } from "../../sdk/transport/retry-hint.js";

export type Storm = "requests" | "finds" | "cancels" | "half-open" | "deaf" | "reconnects";

export interface Command {
  readonly storm: Storm;
  readonly url: string;
  readonly count: number;
}

export interface Told {
  /** Outcomes by the name of their code. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Refusals with RESOURCE_EXHAUSTED that said when to try again. */
  readonly hints: number;
}

const dialer = createDialer({ dialTimeoutMs: 20_000 });
const deadlineMs = 60_000;
/** Kept until the next command, so that what they cost can be looked at. */
let held: Socket[] = [];
let outcomes: Record<string, number> = {};
let hints = 0;

const storms: Readonly<Record<Storm, (url: string, count: number) => Promise<unknown>>> = {
  async requests(url, count) {
    const client = dialer.connections(url);
    const made = await each(count, (i) => client.request(requestOf(`storm-${i}`), call()));
    for (const connection of made) if (connection !== undefined) await client.close(connection, call());
  },
  async finds(url, count) {
    const registry = dialer.endpointRegistry(url);
    const query = NetworkServiceEndpoint.fromPartial({ network_service_names: ["service"] });
    await each(count, async () => {
      for await (const _one of registry.find(query, { ...call(), watch: false }));
    });
  },
  async cancels(url, count) {
    const client = dialer.connections(url);
    const made = await each(count, (i) => {
      const leaving = new AbortController();
      setTimeout(() => leaving.abort(), i % 40);
      // an answer may cross the withdrawal: such a connection is nobody's and ends when nobody refreshes it
      return client.request(requestOf(`cancelled-${i}`, 5_000), { ...call(), signal: leaving.signal });
    });
    for (const connection of made) if (connection !== undefined) await client.close(connection, call());
  },
  async "half-open"(url, count) {
    for (let left = count; left > 0; left -= 2_000) held.push(await begin(url, Math.min(left, 2_000)));
  },
  async deaf(url, count) {
    const message = Buffer.from(methods.monitor.request.encode(MonitorScopeSelector.fromPartial({})).finish());
    for (let left = count; left > 0; left -= 100) {
      const socket = connectTo(url);
      held.push(socket);
      await new Promise<void>((resolve) => {
        let answered = 0;
        const first = (): void => {
          if (++answered < 100) return;
          socket.pause();
          resolve();
        };
        const connection = openConnection({
          socket,
          secure: false,
          authority: "localhost",
          maxMessageBytes: 4 << 20,
          onReady() {
            const start = { path: methods.monitor.path, fields: [], message, deadlineMs: undefined, paced: true };
            for (let i = 0; i < 100; i++) connection.call(start, { message: first, end: first });
          },
          onGone() {},
        });
      });
    }
  },
  async reconnects(url, count) {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next++ < count) {
        const socket = await begin(url, next % 3);
        socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: 20 }, worker));
  },
};

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => void obey(JSON.parse(line) as Command));
commands.once("close", () => process.exit(0));
process.stdout.write("ready\n");

async function obey({ storm, url, count }: Command): Promise<void> {
  for (const socket of held) socket.destroy();
  held = [];
  outcomes = {};
  hints = 0;
  await storms[storm](url, count);
  const told: Told = { outcomes, hints };
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

const call = () => ({ signal: new AbortController().signal, deadlineMs: Date.now() + deadlineMs });

/** All at once. */
function each<T>(count: number, run: (i: number) => Promise<T>): Promise<(T | undefined)[]> {
  const one = async (i: number): Promise<T | undefined> => {
    try {
      const answer = await run(i);
      note("OK");
      return answer;
    } catch (error) {
      note(codeName(toStatusError(error).code));
      if (retryAfterMs(error) !== undefined) hints++;
      return undefined;
    }
  };
  return Promise.all(Array.from({ length: count }, (_, i) => one(i)));
}

function note(outcome: string): void {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}

function requestOf(id: string, lifeMs = 30_000): NetworkServiceRequest {
  const expires = timestampOf(Date.now() + lifeMs);
  return NetworkServiceRequest.fromPartial({
    connection: { id, network_service: "service", path: { index: 0, path_segments: [{ name: "storm", id, expires }] } },
    mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: ownInodeUrl(), name: "nsm-1" } }],
  });
}

function connectTo(url: string): Socket {
  const socket = connect({ path: url.slice("unix://".length) });
  socket.on("error", () => {});
  return socket;
}

/** Says hello and begins so many calls, each with headers and without an end; resolves when the other end has spoken. */
async function begin(url: string, calls: number): Promise<Socket> {
  const socket = connectTo(url);
  const frames = [Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0))];
  for (let i = 0; i < calls; i++) frames.push(frame(1, 4, 2 * i + 1, headers));
  socket.write(Buffer.concat(frames));
  await new Promise((resolve) => {
    socket.once("data", resolve);
    socket.once("close", resolve);
  });
  return socket;
}

function frame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** Literals that go into no table (RFC 7541 §6.2.2). */
const headers = Buffer.concat(
  [":method", "POST", ":scheme", "http", ":path", methods.request.path, "content-type", "application/grpc"].flatMap(
    (text, at) => [Buffer.from(at % 2 === 0 ? [0, text.length] : [text.length]), Buffer.from(text)],
  ),
);
