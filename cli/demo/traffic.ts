/**
 * TCP traffic for proofs, run inside a pod as `weft traffic JSON`: real sockets of a process that lives there.
 *   answer  listens on ports; greets, swallows what comes and tells at the end how much it was and how long it took
 *   probe   connects, reads the greeting, tells what happened
 *   send    connects and sends as fast as it can for a while, tells what the other side received
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";

export type TrafficRequest =
  | { readonly mode: "answer"; readonly ports: readonly number[] }
  | { readonly mode: "probe"; readonly host: string; readonly port: number; readonly timeoutMs: number }
  | { readonly mode: "send"; readonly host: string; readonly port: number; readonly durationMs: number };

/** One line of JSON on standard output. */
export type TrafficAnswer =
  | { readonly kind: "listening" }
  | { readonly kind: "probed"; readonly connected: boolean; readonly detail: string; readonly elapsedMs: number }
  | { readonly kind: "sent"; readonly bytes: number; readonly elapsedMs: number };

const greeting = "weft\n";
const chunk = Buffer.alloc(256 * 1024);

export async function traffic(requestText: string, context: CliContext): Promise<number> {
  const request = JSON.parse(requestText) as TrafficRequest;
  const tell = (answer: TrafficAnswer): void => void context.out.write(`${JSON.stringify(answer)}\n`);
  switch (request.mode) {
    case "answer":
      await answerUntil(request.ports, context.signal, () => tell({ kind: "listening" }));
      return 0;
    case "probe":
      tell(await probe(request.host, request.port, request.timeoutMs));
      return 0;
    case "send":
      tell(await send(request.host, request.port, request.durationMs));
      return 0;
    default:
      throw statusError(Code.INVALID_ARGUMENT, `unknown traffic ${requestText}`);
  }
}

async function answerUntil(ports: readonly number[], signal: AbortSignal, ready: () => void): Promise<void> {
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  for (const port of ports) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
      swallow(socket);
    });
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, host: "::" }, resolve);
    });
  }
  ready();
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
}

/** Greets, counts until the other side has sent all, answers with the count as one line of JSON. */
function swallow(socket: Socket): void {
  let bytes = 0;
  let firstAt = 0;
  let lastAt = 0;
  socket.write(greeting);
  socket.on("data", (data: Buffer) => {
    lastAt = performance.now();
    if (bytes === 0) firstAt = lastAt;
    bytes += data.length;
  });
  socket.on("end", () => socket.end(`${JSON.stringify({ bytes, elapsedMs: lastAt - firstAt })}\n`));
}

async function probe(host: string, port: number, timeoutMs: number): Promise<TrafficAnswer> {
  const startedAt = performance.now();
  const socket = connect({ host, port });
  const detail = await new Promise<string>((resolve) => {
    const timer = setTimeout(() => resolve(`no answer within ${timeoutMs} ms`), timeoutMs);
    const settle = (text: string): void => {
      clearTimeout(timer);
      resolve(text);
    };
    socket.once("data", (data: Buffer) => settle(data.toString("latin1")));
    socket.once("error", (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  });
  socket.destroy();
  return { kind: "probed", connected: detail === greeting, detail: detail.trim(), elapsedMs: performance.now() - startedAt };
}

async function send(host: string, port: number, durationMs: number): Promise<TrafficAnswer> {
  const socket = connect({ host, port });
  let received = "";
  const finished = new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => resolve());
  });
  socket.on("data", (data: Buffer) => {
    received += data.toString("latin1");
  });
  await new Promise<void>((resolve) => socket.once("connect", resolve).once("close", () => resolve()));
  const until = performance.now() + durationMs;
  const fill = (): void => {
    while (performance.now() < until && !socket.destroyed) {
      if (!socket.write(chunk)) {
        socket.once("drain", fill);
        return;
      }
    }
    socket.end();
  };
  fill();
  await finished;
  const { bytes, elapsedMs } = JSON.parse(received.slice(greeting.length) || '{"bytes":0,"elapsedMs":0}') as {
    bytes: number;
    elapsedMs: number;
  };
  return { kind: "sent", bytes, elapsedMs };
}
