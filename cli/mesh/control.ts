/**
 * How other `weft` commands speak to the supervisor: HTTP on a unix socket that only its user may open.
 *   POST /pods          starts a pod; the answer is a stream of JSON lines, one per event. When the asker hangs up the
 *                       pod is removed, unless `detach` was asked
 *   DELETE /pods/NAME   removes a pod (?kill: its process gets no chance to say good-bye)
 *   POST /stop          takes the mesh down, then answers
 */

import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createInterface } from "node:readline";
import { Code, isStatusError, statusError, toStatusError } from "../../sdk/status.js";
import type { Mesh, PodSpec } from "./mesh.js";
import { controlSocket } from "./plan.js";

export interface PodRequest extends PodSpec {
  /** The pod outlives the command that asked for it. */
  readonly detach: boolean;
}
export type PodEvent =
  | { readonly event: "started"; readonly pid: number | undefined }
  | { readonly event: "ended"; readonly how: string }
  | { readonly event: "refused"; readonly code: number; readonly text: string };

const maxBodyBytes = 1024 * 1024;

/** @param onStop  called once when somebody asks to stop; resolves when everything is gone */
export async function serveControl(mesh: Mesh, onStop: () => Promise<void>): Promise<{ stop(): Promise<void> }> {
  const server: Server = createServer((incoming, response) => {
    answer(mesh, onStop, incoming, response).catch((error: unknown) => {
      const { code, details } = toStatusError(error);
      if (!response.headersSent) response.writeHead(isStatusError(error) ? 409 : 500);
      response.end(`${JSON.stringify({ event: "refused", code, text: details } satisfies PodEvent)}\n`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(controlSocket, resolve);
  });
  chmodSync(controlSocket, 0o600);
  return {
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      await closed;
    },
  };
}

async function answer(
  mesh: Mesh,
  onStop: () => Promise<void>,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(incoming.url ?? "/", "http://weft");
  const pod = /^\/pods\/([^/]+)$/.exec(url.pathname)?.[1];
  if (incoming.method === "POST" && url.pathname === "/pods") {
    await runPod(mesh, JSON.parse(await bodyOf(incoming)) as PodRequest, response);
  } else if (incoming.method === "DELETE" && pod !== undefined) {
    await mesh.removePod(decodeURIComponent(pod), { kill: url.searchParams.has("kill") });
    response.writeHead(204, { connection: "close" }).end();
  } else if (incoming.method === "POST" && url.pathname === "/stop") {
    await onStop();
    response.writeHead(204, { connection: "close" }).end();
  } else {
    response.writeHead(404).end();
  }
}

async function runPod(mesh: Mesh, spec: PodRequest, response: ServerResponse): Promise<void> {
  const process = mesh.addPod(spec);
  const tell = (event: PodEvent): void => void response.write(`${JSON.stringify(event)}\n`);
  response.writeHead(200, { "content-type": "application/jsonl", connection: "close" });
  tell({ event: "started", pid: process.pid });
  if (spec.detach) {
    response.end();
    return;
  }
  const gone = new Promise<undefined>((resolve) => response.once("close", () => resolve(undefined)));
  const how = await Promise.race([process.ended, gone]);
  if (how !== undefined) tell({ event: "ended", how });
  response.end();
  await mesh.removePod(spec.name);
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of incoming.setEncoding("utf8")) {
    body += chunk as string;
    if (body.length > maxBodyBytes) throw statusError(Code.RESOURCE_EXHAUSTED, "request of more than 1 MiB");
  }
  return body;
}

/** Asks the supervisor to run a pod. Events come until it ends, or until the signal aborts, which removes it. */
export async function* askForPod(spec: PodRequest, signal: AbortSignal): AsyncGenerator<PodEvent> {
  const response = await ask("POST", "/pods", signal, JSON.stringify(spec));
  for await (const line of createInterface({ input: response })) {
    const event = JSON.parse(line) as PodEvent;
    if (event.event === "refused") throw statusError(event.code as Code, event.text);
    yield event;
  }
}

export async function askToRemovePod(name: string, options: { kill: boolean; signal: AbortSignal }): Promise<void> {
  (await ask("DELETE", `/pods/${encodeURIComponent(name)}${options.kill ? "?kill" : ""}`, options.signal)).resume();
}

export async function askToStop(signal: AbortSignal): Promise<void> {
  (await ask("POST", "/stop", signal)).resume();
}

function ask(method: string, path: string, signal: AbortSignal, body = ""): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: controlSocket, method, path, signal, agent: false }, resolve);
    outgoing.once("error", (error) => reject(signal.aborted ? error : supervisorGone(error)));
    outgoing.end(body);
  });
}

function supervisorGone(error: Error): Error {
  return statusError(
    Code.UNAVAILABLE,
    `the supervisor of the local mesh does not answer (${error.message}); \`weft down\` removes its remains`,
    error,
  );
}
