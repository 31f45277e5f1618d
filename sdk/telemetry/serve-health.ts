/**
 * Health over plain HTTP, for probes that know nothing of gRPC and have no identity, as the kubelet's: GET /livez is 200
 * while the process works, GET /readyz is 200 while it serves and 503 else. Nothing else is told.
 */
import type { ServerResponse } from "node:http";
import { builtin } from "../builtin.js";
import { Code, statusError } from "../status.js";
import { type Health, ServingStatus } from "./health.js";
import { splitHostPort } from "./listen-address.js";

const requestTimeoutMs = 5_000;

/**
 * @param listenOn  ":15390" or "host:port"; port 0 takes a free one
 * @throws FAILED_PRECONDITION when the address cannot be bound; INVALID_ARGUMENT when it is none
 */
export async function serveHealth(health: Health, listenOn: string): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const { host, port } = splitHostPort("WEFT_HEALTH_LISTEN_ON", listenOn);
  const answer = (response: ServerResponse, status: number, text: string): void =>
    void response.writeHead(status, { "content-type": "text/plain" }).end(`${text}\n`);
  const server = builtin("node:http").createServer(
    { requestTimeout: requestTimeoutMs, maxHeaderSize: 4096 },
    (request, response) => {
      const path = request.url?.split("?")[0];
      if (request.method !== "GET" && request.method !== "HEAD") answer(response, 405, "GET only");
      else if (path === "/livez") answer(response, 200, "alive");
      else if (path !== "/readyz") answer(response, 404, "/livez or /readyz");
      else if (health.check("") === ServingStatus.SERVING) answer(response, 200, "ready");
      else answer(response, 503, "not ready");
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(cannotListen(listenOn, error)));
    server.listen({ port, ...(host === "" ? {} : { host }) }, resolve);
  });
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
  return {
    url: `http://${host === "" ? "localhost" : host.includes(":") ? `[${host}]` : host}:${boundPort}`,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function cannotListen(listenOn: string, error: Error) {
  const text = `health cannot be served on ${listenOn} (${error.message}); set WEFT_HEALTH_LISTEN_ON to a free address`;
  return statusError(Code.FAILED_PRECONDITION, text, error);
}
