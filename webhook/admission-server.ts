/** HTTPS for the apiserver: POST /mutate takes an AdmissionReview. What comes in is bounded in size, number and time. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { performance } from "node:perf_hooks";
import { Code, statusError, toStatusError } from "../sdk/status.js";
import { splitHostPort } from "../sdk/telemetry/listen-address.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Certificate } from "./certificates.js";
import type { Review, Verdict } from "./decide.js";
import { answerOf, parseReview } from "./review.js";

/** The apiserver takes objects of 3 MiB, and a review of an update has two. */
const maxBodyBytes = 8 * 1024 * 1024;
const maxUnderWay = 200;
const requestTimeoutMs = 10_000;

export interface AdmissionServerOptions {
  readonly listenOn: string;
  readonly certificate: Certificate;
  /** @throws when the answer is not known; then the failurePolicy of the webhook decides */
  readonly decide: (review: Review) => Promise<Verdict>;
  /** Told of each answer: how long it took, and whether it was a refusal. */
  readonly onAnswer?: (durationMs: number, allowed: boolean) => void;
  readonly log: Log;
}

export interface AdmissionServer {
  readonly url: string;
  /** From the next handshake on. */
  use(certificate: Certificate): void;
  stop(): Promise<void>;
}

/** @throws FAILED_PRECONDITION when the address cannot be bound */
export async function serveAdmission(options: AdmissionServerOptions): Promise<AdmissionServer> {
  const { listenOn, log } = options;
  const { host, port } = splitHostPort("NSM_LISTEN_ON", listenOn);
  let underWay = 0;
  const server = createServer(
    {
      ...tlsOf(options.certificate),
      minVersion: "TLSv1.2",
      requestTimeout: requestTimeoutMs,
      headersTimeout: requestTimeoutMs,
      maxHeaderSize: 16 * 1024,
    },
    (request, response) => {
      if (underWay >= maxUnderWay) return end(response, 503, "too many reviews are under way");
      underWay++;
      response.once("close", () => underWay--);
      handle(options, request, response).catch((error: unknown) => {
        const { code, details } = toStatusError(error);
        const status = code === Code.INVALID_ARGUMENT ? 400 : code === Code.RESOURCE_EXHAUSTED ? 413 : 500;
        log.warn("a review could not be answered", { error: toStatusError(error), status });
        if (!response.headersSent) end(response, status, details);
      });
    },
  );
  server.on("tlsClientError", (error) => log.debug("a client failed the TLS handshake", { reason: error.message }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(statusError(Code.FAILED_PRECONDITION, `HTTPS cannot be served on ${listenOn}: ${error.message}`, error)),
    );
    server.listen({ port, ...(host === "" ? {} : { host }) }, resolve);
  });
  const bound = server.address();
  return {
    url: `https://${host === "" ? "localhost" : host}:${typeof bound === "object" && bound !== null ? bound.port : port}/mutate`,
    use: (certificate) => server.setSecureContext(tlsOf(certificate)),
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), 2_000);
      await closed;
      clearTimeout(late);
    },
  };
}

async function handle(options: AdmissionServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url?.split("?")[0];
  if (path === "/ready") return end(response, 200, "ready");
  if (path !== "/mutate") return end(response, 404, "POST /mutate");
  if (request.method !== "POST") return end(response, 405, "POST /mutate");
  const text = await bodyOf(request);
  const startedMs = performance.now();
  const review = parseReview(text);
  const verdict = await options.decide(review);
  const body = JSON.stringify(answerOf(review.uid, verdict));
  options.onAnswer?.(performance.now() - startedMs, verdict.allowed);
  if (!verdict.allowed) {
    const { kind, namespace } = review;
    options.log.info("refused", { kind, namespace, reason: verdict.message });
  }
  response.writeHead(200, { "content-type": "application/json" }).end(body);
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > maxBodyBytes) throw statusError(Code.RESOURCE_EXHAUSTED, `a review has at most ${maxBodyBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function end(response: ServerResponse, status: number, text: string): void {
  // what is left of a body that nobody reads must not keep the connection
  if (status >= 400) response.setHeader("connection", "close");
  response.writeHead(status, { "content-type": "text/plain" }).end(`${text}\n`);
}

function tlsOf({ certificatePem, keyPem }: Certificate) {
  return { cert: certificatePem, key: keyPem };
}
