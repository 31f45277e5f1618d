/**
 * Calls of the Kubernetes API over HTTPS. Each has a bound in time; a refusal is a status error (api-error.ts). Nothing
 * is retried here but a GET on a kept connection that turned out to be closed.
 */
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from "node:https";
import type { TLSSocket } from "node:tls";
import { Code, statusError } from "../status.js";
import { noAnswer, refusal } from "./api-error.js";
import type { ApiConnection } from "./connection.js";

export interface ApiRequest {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** From resource.ts, `pathOf`; or any other path of the server. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** For PATCH. Default: merge. */
  readonly patch?: "merge" | "json" | "strategic" | "apply";
  readonly signal?: AbortSignal | undefined;
  /** How long the answer may take: for `call` the whole of it, for `open` its head. Default 15,000. */
  readonly timeoutMs?: number;
}

export interface KubernetesApi {
  readonly connection: ApiConnection;
  /**
   * Calls and gives the answer's JSON (undefined when it has no body).
   * @throws ApiError; UNAVAILABLE when there is no answer in time
   */
  call<T>(request: ApiRequest): Promise<T>;
  /** Calls and gives the answer as a stream, once its head says that it is none of refusal; for watches and logs. */
  open(request: ApiRequest): Promise<IncomingMessage>;
  /** The server's clock as its last answer told it (header Date: whole seconds); undefined = there was no answer yet. */
  serverClock(): { readonly toldMs: number; readonly sinceMs: number } | undefined;
  /** Ends the kept connections. */
  close(): void;
}

const defaultTimeoutMs = 15_000;
/** A page of a list has 500 objects of at most 1.5 MiB, and in practice of a few KiB. */
const maxAnswerBytes = 256 * 1024 * 1024;
/** With libuv's ten probes a second apart, a peer that is gone without a word is found after a quarter of a minute. */
const keepAliveDelayMs = 5_000;

const patchTypes = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

/** @param options.userAgent  names us in the server's audit log and flow control */
export function createKubernetesApi(connection: ApiConnection, options: { readonly userAgent?: string } = {}): KubernetesApi {
  const secure = connection.server.protocol === "https:";
  const agentOptions = { keepAlive: true, keepAliveMsecs: keepAliveDelayMs, maxFreeSockets: 4 };
  const agent = secure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);

  let clock: { toldMs: number; heardMs: number } | undefined;

  function hear({ headers }: IncomingMessage): void {
    const toldMs = Date.parse(headers.date ?? "");
    if (!Number.isNaN(toldMs)) clock = { toldMs, heardMs: performance.now() };
  }

  async function send(what: string, request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { method = "GET", body } = request;
    const from = await connection.options();
    const text = body === undefined ? undefined : JSON.stringify(body);
    const sent: RequestOptions = {
      agent,
      ...from,
      method,
      signal,
      headers: {
        accept: "application/json",
        "user-agent": options.userAgent ?? "weft",
        ...(text !== undefined && {
          "content-type": method === "PATCH" ? patchTypes[request.patch ?? "merge"] : "application/json",
          "content-length": Buffer.byteLength(text),
        }),
        ...from.headers,
      },
    };
    const url = urlOf(connection.server, request);
    const attempt = (): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const made: ClientRequest = secure ? httpsRequest(url, sent) : httpRequest(url, sent);
        made.once("socket", (socket: TLSSocket) => socket.setKeepAlive(true, keepAliveDelayMs));
        made.once("response", (response) => {
          hear(response);
          resolve(response);
        });
        made.on("error", (error) => reject(Object.assign(error, { onKeptSocket: made.reusedSocket })));
        made.end(text);
      });
    try {
      return await attempt().catch((error: { onKeptSocket?: boolean; code?: string }) => {
        const isSafe = method === "GET" && error.onKeptSocket === true && error.code === "ECONNRESET" && !signal.aborted;
        if (!isSafe) throw error;
        return attempt();
      });
    } catch (error) {
      throw noAnswer(what, connection.server, signal.reason ?? error);
    }
  }

  async function accepted(what: string, response: IncomingMessage): Promise<IncomingMessage> {
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    const text = await readAll(response).catch(() => "");
    throw refusal(what, status, parseJson(text) ?? { message: text.slice(0, 500) });
  }

  return {
    connection,
    async call<T>(request: ApiRequest): Promise<T> {
      const what = describe(request);
      const bound = AbortSignal.timeout(request.timeoutMs ?? defaultTimeoutMs);
      const signal = request.signal === undefined ? bound : AbortSignal.any([request.signal, bound]);
      request.signal?.throwIfAborted();
      const response = await accepted(what, await send(what, request, signal));
      let text: string;
      try {
        text = await readAll(response);
      } catch (error) {
        throw noAnswer(what, connection.server, signal.reason ?? error);
      }
      if (text === "") return undefined as T;
      const value = parseJson(text);
      if (value === undefined) throw noAnswer(what, connection.server, new Error("the answer is no JSON"));
      return value as T;
    },
    async open(request) {
      const what = describe(request);
      const head = new AbortController();
      const timer = setTimeout(() => head.abort(new Error("no answer in time")), request.timeoutMs ?? defaultTimeoutMs);
      try {
        const signal = request.signal === undefined ? head.signal : AbortSignal.any([request.signal, head.signal]);
        request.signal?.throwIfAborted();
        return await accepted(what, await send(what, request, signal));
      } finally {
        clearTimeout(timer);
      }
    },
    serverClock: () => clock && { toldMs: clock.toldMs, sinceMs: performance.now() - clock.heardMs },
    close: () => agent.destroy(),
  };
}

function urlOf(server: URL, { path, query = {} }: ApiRequest): URL {
  const url = new URL(server);
  url.pathname = `${server.pathname.replace(/\/$/, "")}${path}`;
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}

function describe({ method = "GET", path, query }: ApiRequest): string {
  const verbs = { GET: query?.["watch"] ? "watch" : "get", POST: "create", PUT: "replace", PATCH: "patch", DELETE: "delete" };
  return `${verbs[method]} ${path}`;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) throw statusError(Code.RESOURCE_EXHAUSTED, `an answer of more than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
