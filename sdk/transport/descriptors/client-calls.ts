/**
 * Calls over a connection that passes descriptors, on the side that asks (NSM's sendfd and recvfd clients): files that a
 * message names go along as descriptors, and the answer names them as we did; files that an answer names are ours to take.
 */
import type { Connection, Mechanism } from "../../gen/connection.js";
import type { NetworkServiceRequest } from "../../gen/networkservice.js";
import type { NetworkServiceEndpoint, NetworkServiceEndpointResponse } from "../../gen/registry.js";
import type { Descriptors, HeldFile } from "../../peer.js";
import { type Method, methods } from "../methods.js";
import { keepSocket } from "./kept-sockets.js";
import { fileUrlOf, inverse, parseInodeUrl, type Renaming, renameMechanism, sendFile } from "./names.js";

/** A call in the terms of the wire. */
export interface Passage<I, O> {
  readonly input: I;
  /** The answer, or each answer of a stream, in our terms. */
  readonly answer: (output: O) => O;
}

/** Queues the descriptors of the files that the message names. Undefined: a call of this kind names none. */
export function passFiles<I, O>(method: Method<I, O>, input: I, descriptors: Descriptors): Passage<I, O> | undefined {
  const pass = passages.get(method.path);
  return pass === undefined ? undefined : (pass(input, descriptors) as Passage<I, O>);
}

/** The file that the mechanism of an answer names, if its descriptor came with it; to be closed by who takes it. */
export function takeAnswered(mechanism: Mechanism | undefined): HeldFile | undefined {
  return mechanism === undefined ? undefined : answered.get(mechanism)?.();
}
const answered = new WeakMap<Mechanism, () => HeldFile | undefined>();

type Pass<I, O> = (input: I, descriptors: Descriptors) => Passage<I, O>;

function entry<I, O>(method: Method<I, O>, pass: Pass<I, O>): [string, Pass<unknown, unknown>] {
  return [method.path, pass as Pass<unknown, unknown>];
}

const passages = new Map([
  entry(methods.request, passRequest),
  entry(methods.close, (connection, descriptors) => {
    const sent = sendFiles([connection.mechanism], descriptors);
    return { input: renameIn(connection, sent), answer: (output) => output };
  }),
  entry(methods.registerEndpoint, passEndpoint),
  entry(methods.unregisterEndpoint, (endpoint, descriptors) => ({
    input: passEndpoint(endpoint, descriptors).input,
    answer: (output) => output,
  })),
  entry(methods.findEndpoints, (input, descriptors) => ({ input, answer: (found) => takeSocket(found, descriptors) })),
]);

function passRequest(request: NetworkServiceRequest, descriptors: Descriptors): Passage<NetworkServiceRequest, Connection> {
  const { connection, mechanism_preferences } = request;
  const sent = sendFiles([connection?.mechanism, ...mechanism_preferences], descriptors);
  return {
    input: {
      connection: connection === undefined ? undefined : renameIn(connection, sent),
      mechanism_preferences: mechanism_preferences.map((mechanism) => renameMechanism(mechanism, sent)),
    },
    answer(output) {
      const restored = renameIn(output, inverse(sent));
      const { mechanism } = restored;
      const inode = mechanism === output.mechanism ? parseInodeUrl(fileUrlOf(mechanism) ?? "") : undefined;
      if (mechanism !== undefined && inode !== undefined) answered.set(mechanism, () => descriptors.take(inode));
      return restored;
    },
  };
}

function passEndpoint(
  endpoint: NetworkServiceEndpoint,
  descriptors: Descriptors,
): Passage<NetworkServiceEndpoint, NetworkServiceEndpoint> {
  const name = endpoint.url.startsWith("unix:") ? sendFile(endpoint.url, descriptors) : undefined;
  if (name === undefined) return { input: endpoint, answer: (output) => output };
  return {
    input: { ...endpoint, url: name },
    answer: (output) => (output.url === name ? { ...output, url: endpoint.url } : output),
  };
}

/** An endpoint of this node under a url that we can dial. */
function takeSocket(found: NetworkServiceEndpointResponse, descriptors: Descriptors): NetworkServiceEndpointResponse {
  const endpoint = found.network_service_endpoint;
  const inode = endpoint === undefined || found.deleted ? undefined : parseInodeUrl(endpoint.url);
  const file = inode === undefined ? undefined : descriptors.take(inode);
  if (endpoint === undefined || file === undefined) return found;
  return { ...found, network_service_endpoint: { ...endpoint, url: keepSocket(file) } };
}

function sendFiles(mechanisms: readonly (Mechanism | undefined)[], descriptors: Descriptors): Renaming {
  const sent = new Map<string, string>();
  for (const mechanism of mechanisms) {
    const url = fileUrlOf(mechanism);
    if (url === undefined || sent.has(url)) continue;
    const name = sendFile(url, descriptors);
    if (name !== undefined) sent.set(url, name);
  }
  return sent;
}

function renameIn(connection: Connection, renaming: Renaming): Connection {
  const mechanism = renameMechanism(connection.mechanism, renaming);
  return mechanism === connection.mechanism ? connection : { ...connection, mechanism };
}
