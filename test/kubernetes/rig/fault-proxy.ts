/**
 * Between a client and the API server, with the server's own certificate: does to answers what networks, load balancers
 * and servers in trouble do.
 */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import type { ApiServer } from "./api-server.js";

export type Fault =
  | { readonly kind: "none" }
  /** The answer has this status and no sense. */
  | { readonly kind: "status"; readonly status: number }
  /** The connection is cut after so many bytes of the answer's body. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** Nothing comes any more after so many bytes, and nobody says so. */
  | { readonly kind: "silence"; readonly afterBytes: number }
  /** A watch ends with an event of this status (410: the version is too old) after so many lines. */
  | { readonly kind: "errorEvent"; readonly status: number; readonly afterLines: number }
  /** A line that is no event. */
  | { readonly kind: "garbage"; readonly afterLines: number };

export interface FaultProxy {
  readonly url: string;
  /** Called for each request; gives what to do to its answer. */
  faultFor: (path: string) => Fault;
  /** Requests so far. */
  readonly requests: number;
  /** Ends every connection now. */
  cutAll(): void;
  stop(): Promise<void>;
}

export async function startFaultProxy(server: ApiServer): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  let requests = 0;
  const proxy = createServer({
    cert: readFileSync(join(server.dir, "apiserver.crt")),
    key: readFileSync(join(server.dir, "apiserver.key")),
  });
  const self: FaultProxy = {
    url: "",
    faultFor: () => ({ kind: "none" }),
    get requests() {
      return requests;
    },
    cutAll() {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      self.cutAll();
      proxy.close();
      await once(proxy, "close");
    },
  };
  proxy.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });
  proxy.on("request", (request: IncomingMessage, response: ServerResponse) => {
    requests++;
    forward(server, request, response, self.faultFor(request.url ?? ""));
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return Object.assign(self, { url: `https://127.0.0.1:${(proxy.address() as AddressInfo).port}` });
}

function forward(server: ApiServer, request: IncomingMessage, response: ServerResponse, fault: Fault): void {
  if (fault.kind === "status") {
    request.resume();
    response.writeHead(fault.status, { "content-type": "text/html" }).end("<html>trouble</html>");
    return;
  }
  const target = new URL(server.url);
  const options = { host: target.hostname, port: target.port, path: request.url, method: request.method };
  const onward = httpsRequest({ ...options, headers: request.headers, rejectUnauthorized: false }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    pass(answer, response, fault);
  });
  onward.on("error", () => response.socket?.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

function pass(answer: IncomingMessage, response: ServerResponse, fault: Fault): void {
  let bytes = 0;
  let lines = 0;
  let isSilent = false;
  answer.on("data", (chunk: Buffer) => {
    if (isSilent) return;
    if (fault.kind === "cut" || fault.kind === "silence") {
      const left = fault.afterBytes - bytes;
      bytes += chunk.length;
      response.write(chunk.subarray(0, Math.max(0, left)));
      if (bytes < fault.afterBytes) return;
      isSilent = true;
      // what is written first goes out
      if (fault.kind === "cut") setImmediate(() => response.socket?.destroy());
      return;
    }
    response.write(chunk);
    lines += chunk.toString("latin1").split("\n").length - 1;
    if ((fault.kind === "errorEvent" || fault.kind === "garbage") && lines >= fault.afterLines) {
      isSilent = true;
      response.end(fault.kind === "garbage" ? "<<<\n" : `${JSON.stringify(errorEvent(fault.status))}\n`);
    }
  });
  answer.on("end", () => !isSilent && response.end());
  answer.on("error", () => response.socket?.destroy());
}

function errorEvent(code: number): object {
  const reason = code === 410 ? "Expired" : "InternalError";
  return {
    type: "ERROR",
    object: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", reason, code, message: reason },
  };
}
