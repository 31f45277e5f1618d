/**
 * Calls of etcd's v3 API over its JSON gateway (etcd documentation, "gRPC gateway"; on by default), with the members tried
 * in turn. Keys and values are base64 there, and numbers of 64 bits are texts.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { Code, isStatusError, type StatusError, statusError } from "../../../sdk/status.js";

/** PEM. */
export interface EtcdTls {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

export interface EtcdOptions {
  /** http(s)://HOST:PORT of each member. */
  readonly endpoints: readonly string[];
  /** As it is at the time of a call: certificates are renewed. */
  readonly tls?: (() => EtcdTls) | undefined;
  readonly user?: { readonly name: string; readonly password: string } | undefined;
}

export interface EtcdClient {
  /**
   * One call, at the member that answered last or the next one that does. `wasTried` of the result says that an attempt
   * before it may have been carried out although its answer was lost.
   * @throws UNAVAILABLE when no member answers; another code when etcd refuses
   */
  call<T>(path: string, body: object, options?: { readonly signal?: AbortSignal }): Promise<{ answer: T; wasTried: boolean }>;
  /** A call whose answers come one by one; ends when etcd or the signal ends it. */
  stream<T>(path: string, body: object, signal: AbortSignal): AsyncGenerator<T>;
  close(): void;
}

/** With a member that is gone the others must have their turn within a caller's patience. */
const answerTimeoutMs = 3_000;
const keepAliveDelayMs = 5_000;
const maxLineBytes = 64 * 1024 * 1024;

export function createEtcdClient({ endpoints, tls = () => ({}), user }: EtcdOptions): EtcdClient {
  const urls = endpoints.map((endpoint) => new URL(/^https?:\/\//.test(endpoint) ? endpoint : `http://${endpoint}`));
  const keep = { keepAlive: true, keepAliveMsecs: keepAliveDelayMs, maxFreeSockets: 4 };
  const agents = { "http:": new HttpAgent(keep), "https:": new HttpsAgent(keep) };
  let current = 0;
  let token: string | undefined;

  function open(base: URL, path: string, body: object, signal: AbortSignal): Promise<IncomingMessage> {
    const text = JSON.stringify(body);
    const isSecure = base.protocol === "https:";
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
      ...(token !== undefined && { authorization: token }),
    };
    const options = { method: "POST", headers, signal, agent: isSecure ? agents["https:"] : agents["http:"] };
    return new Promise((resolve, reject) => {
      const url = new URL(path, base);
      const made = isSecure ? httpsRequest(url, { ...options, ...tls() }) : httpRequest(url, options);
      made.once("socket", (socket) => socket.setKeepAlive(true, keepAliveDelayMs));
      made.once("response", resolve);
      made.on("error", reject);
      made.end(text);
    });
  }

  async function ask<T>(base: URL, path: string, body: object, signal: AbortSignal): Promise<T> {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]);
    const response = await open(base, path, body, bounded);
    let text = "";
    for await (const chunk of response as AsyncIterable<Buffer>) text += chunk.toString("utf8");
    const answer = JSON.parse(text) as T & Refusal;
    if (response.statusCode !== 200) throw refusal(path, answer);
    return answer;
  }

  async function logIn(base: URL, signal: AbortSignal): Promise<void> {
    if (user === undefined) return;
    token = undefined;
    token = (await ask<{ token: string }>(base, "/v3/auth/authenticate", user, signal)).token;
  }

  async function askLoggedIn<T>(base: URL, path: string, body: object, signal: AbortSignal): Promise<T> {
    if (user !== undefined && token === undefined) await logIn(base, signal);
    try {
      return await ask<T>(base, path, body, signal);
    } catch (error) {
      if (user === undefined || !isStatusError(error) || error.code !== Code.UNAUTHENTICATED) throw error;
      await logIn(base, signal);
      return await ask<T>(base, path, body, signal);
    }
  }

  return {
    async call<T>(path: string, body: object, { signal = new AbortController().signal } = {}) {
      let wasTried = false;
      let last: unknown;
      for (let tries = 0; tries < 2 * urls.length; tries++) {
        signal.throwIfAborted();
        const base = urls[current % urls.length] as URL;
        try {
          return { answer: await askLoggedIn<T>(base, path, body, signal), wasTried };
        } catch (error) {
          // a refusal that another member would give as well
          if (isStatusError(error) && error.code !== Code.UNAVAILABLE) throw error;
          wasTried ||= (error as { code?: unknown }).code !== "ECONNREFUSED";
          last = error;
          current++;
        }
      }
      throw noAnswer(path, endpoints, last);
    },
    async *stream<T>(path: string, body: object, signal: AbortSignal) {
      const base = urls[current % urls.length] as URL;
      try {
        if (user !== undefined && token === undefined) await logIn(base, signal);
        const response = await open(base, path, body, signal);
        for await (const line of lines(response)) {
          const { result, error } = JSON.parse(line) as { result?: T; error?: Refusal };
          if (error !== undefined) throw refusal(path, error);
          if (result !== undefined) yield result;
        }
      } catch (error) {
        token = undefined;
        current++;
        throw isStatusError(error) ? error : noAnswer(path, [base.href], error);
      }
    },
    close() {
      agents["http:"].destroy();
      agents["https:"].destroy();
    },
  };
}

interface Refusal {
  /** Of gRPC. */
  readonly code?: number;
  readonly grpc_code?: number;
  readonly message?: string;
  readonly error?: string;
}

function refusal(path: string, { code, grpc_code, message, error }: Refusal): StatusError {
  const text = message ?? error ?? "";
  const found = grpc_code ?? code ?? Code.UNKNOWN;
  // "invalid auth token" comes as UNAUTHENTICATED; no leader, too many requests and the like as UNAVAILABLE
  const known = found > 0 && found <= 16 ? (found as Code) : Code.UNKNOWN;
  return statusError(known, `etcd refuses ${path}: ${text}`);
}

function noAnswer(path: string, endpoints: readonly string[], cause: unknown): StatusError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return statusError(Code.UNAVAILABLE, `no etcd member of ${endpoints.join(", ")} answers ${path}: ${why}; try again`, cause);
}

async function* lines(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      waiting.push(chunk.subarray(from, end));
      from = end + 1;
      const line = Buffer.concat(waiting).toString("utf8");
      waiting = [];
      bytes = 0;
      if (line.trim() !== "") yield line;
    }
    waiting.push(chunk.subarray(from));
    bytes += chunk.length - from;
    if (bytes > maxLineBytes) throw new Error(`an answer of more than ${maxLineBytes} bytes`);
  }
}
