/**
 * The floor of any design on grpc-js: a process that passes Request and Close on as bytes, with no chain, no decoding
 * and no state. Three of them in a row are the peer of nsmgr → forwarder → endpoint in bench/control-plane.ts.
 * Usage: bare-hop.ts LISTEN_PATH [NEXT_PATH]; prints "ready" when it serves.
 */
import { Client, credentials, type MethodDefinition, Server, ServerCredentials } from "@grpc/grpc-js";
import { Connection } from "../sdk/gen/connection.js";
import { NetworkServiceRequest, NetworkServiceService } from "../sdk/gen/networkservice.js";

const [listenPath, nextPath] = process.argv.slice(2);
if (listenPath === undefined) throw new Error("usage: bare-hop.ts LISTEN_PATH [NEXT_PATH]");

const asIs = (bytes: Buffer): Buffer => bytes;
const raw = (definition: { path: string }): MethodDefinition<Buffer, Buffer> => ({
  path: definition.path,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
});
const request = raw(NetworkServiceService.request);
const close = raw(NetworkServiceService.close);

const next = nextPath === undefined ? undefined : new Client(`unix:${nextPath}`, credentials.createInsecure());
/** The last hop answers with the connection it was sent, as an endpoint would. */
const answer: Record<string, (bytes: Buffer) => Buffer> = {
  request: (bytes) =>
    Buffer.from(Connection.encode(NetworkServiceRequest.decode(bytes).connection ?? Connection.fromPartial({})).finish()),
  close: () => Buffer.alloc(0),
};

const server = new Server();
const implementation = Object.fromEntries(
  Object.entries({ request, close }).map(([name, method]) => [
    name,
    (call: { request: Buffer }, callback: (error: Error | null, value?: Buffer) => void) => {
      if (next === undefined) callback(null, answer[name]?.(call.request));
      else next.makeUnaryRequest(method.path, asIs, asIs, call.request, callback);
    },
  ]),
);
server.addService({ request, close }, implementation);
server.bindAsync(`unix:${listenPath}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  console.log("ready");
});
process.on("SIGTERM", () => {
  server.forceShutdown();
  next?.close();
});
