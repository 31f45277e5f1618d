/**
 * Calls over connections that pass descriptors, on the side that answers (NSM's recvfd and sendfd servers): a file that
 * comes as a descriptor gets a path of this process, and the answer names it as the caller did; a file of ours that an
 * answer names goes along as a descriptor. Over other connections nothing happens here.
 *
 * Who names a file by inode means one that we must get: first what came with the connection, then what we can see of the
 * caller's process ourselves (resolve-namespace, resolve-url), else we wait for as long as the call lives.
 */
import type { ConnectionApi, EndpointRegistryApi, Found } from "../../api.js";
import type { CallContext, Handler } from "../../chain.js";
import type { Connection, Mechanism } from "../../gen/connection.js";
import type { NetworkServiceRequest } from "../../gen/networkservice.js";
import type { NetworkServiceEndpoint } from "../../gen/registry.js";
import { findNetns } from "../../linux/find-netns.js";
import type { Descriptors, HeldFile, Inode, Peer } from "../../peer.js";
import { Code, statusError } from "../../status.js";
import { createHeldFiles } from "./held-files.js";
import { keepSocket } from "./kept-sockets.js";
import { fileUrlOf, inverse, parseInodeUrl, type Renaming, renameMechanism, sendFile } from "./names.js";

/** Whether this mechanism names a file whose descriptor its sender has given to us: it need not prove that it may. */
export function cameAsDescriptor(mechanism: Mechanism | undefined): boolean {
  return mechanism !== undefined && given.has(mechanism);
}
const given = new WeakSet<Mechanism>();

/**
 * How long files that came as descriptors stay open: until the connection that they came with is closed or has expired, or
 * only until the call ends, for who finds namespaces again by himself. Then they keep their names of the wire, because a
 * path would mean another file later.
 */
export type FileKeeping = "connection" | "call";

export function exchangeFiles(handler: Handler<ConnectionApi>, keeping: FileKeeping = "connection"): Handler<ConnectionApi> {
  const held = createHeldFiles(keeping);
  return {
    async request(request, context) {
      const descriptors = descriptorsOf(context.peer);
      if (descriptors === undefined) return handler.request(request, context);
      const files = await receiveAll(request, descriptors, context);
      const lease = held.lease(request.connection, files);
      try {
        const answer = await handler.request(renameRequest(request, lease.renaming), context);
        lease.keep();
        return sendAnswer(answer, request, lease.renaming, descriptors);
      } catch (error) {
        lease.giveUp();
        throw error;
      }
    },
    async close(connection, context) {
      const descriptors = descriptorsOf(context.peer);
      const url = fileUrlOf(connection.mechanism);
      const inode = url === undefined || descriptors === undefined ? undefined : parseInodeUrl(url);
      const file = inode === undefined ? undefined : descriptors?.take(inode);
      const files = new Map(url === undefined || file === undefined ? [] : [[url, file]]);
      const lease = held.lease(connection, files);
      try {
        await handler.close(renameIn(connection, lease.renaming), context);
        held.release(connection);
      } finally {
        lease.giveUp();
      }
    },
  };
}

/** Registration by descriptor: the entry gets a url that this process can dial. */
export function receiveSockets(handler: Handler<EndpointRegistryApi>): Handler<EndpointRegistryApi> {
  return {
    async register(endpoint, context) {
      const descriptors = descriptorsOf(context.peer);
      const inode = descriptors === undefined ? undefined : parseInodeUrl(endpoint.url);
      if (descriptors === undefined || inode === undefined) return handler.register(endpoint, context);
      const seen = context.peer.kind === "unix" && context.peer.pid > 0;
      const file = descriptors.take(inode) ?? (seen ? undefined : await wait(endpoint.url, inode, descriptors, context.signal));
      if (file === undefined) return handler.register(endpoint, context);
      const url = keepSocket(file);
      const entry = await handler.register({ ...endpoint, url }, context);
      return entry.url === url ? { ...entry, url: endpoint.url } : entry;
    },
    unregister: (endpoint, context) => handler.unregister(endpoint, context),
  };
}

/** What a Find gives: sockets of this node go along as descriptors. */
export function sendSockets(
  found: AsyncIterable<Found<NetworkServiceEndpoint>>,
  peer: Peer,
): AsyncIterable<Found<NetworkServiceEndpoint>> {
  const descriptors = descriptorsOf(peer);
  return descriptors === undefined ? found : eachSent(found, descriptors);
}

async function* eachSent(
  found: AsyncIterable<Found<NetworkServiceEndpoint>>,
  descriptors: Descriptors,
): AsyncIterable<Found<NetworkServiceEndpoint>> {
  for await (const one of found) {
    const { url } = one.entry;
    const name = one.deleted || !url.startsWith("unix:") ? undefined : sendFile(url, descriptors);
    yield name === undefined ? one : { ...one, entry: { ...one.entry, url: name } };
  }
}

function descriptorsOf(peer: Peer): Descriptors | undefined {
  return peer.kind === "unix" ? peer.descriptors : undefined;
}

async function receiveAll(
  { connection, mechanism_preferences }: NetworkServiceRequest,
  descriptors: Descriptors,
  { peer, signal }: CallContext,
): Promise<Map<string, HeldFile>> {
  const files = new Map<string, HeldFile>();
  try {
    for (const mechanism of [connection?.mechanism, ...mechanism_preferences]) {
      const url = fileUrlOf(mechanism);
      const inode = url === undefined || files.has(url) ? undefined : parseInodeUrl(url);
      if (url === undefined || inode === undefined) continue;
      const here = descriptors.take(inode);
      const file = here ?? (isVisible(inode, peer) ? undefined : await wait(url, inode, descriptors, signal));
      if (file !== undefined) files.set(url, file);
    }
    return files;
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
}

/** Whether we can reach it without its descriptor; who is out of our sight must send it. */
function isVisible({ dev, ino }: Inode, peer: Peer): boolean {
  return peer.kind === "unix" && peer.pid > 0 && findNetns(dev, ino, peer.pid) !== undefined;
}

async function wait(url: string, inode: Inode, descriptors: Descriptors, signal: AbortSignal): Promise<HeldFile> {
  try {
    return await descriptors.wait(inode, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw statusError(Code.DEADLINE_EXCEEDED, `the descriptor of ${url} has not come over this connection`, error);
  }
}

function renameRequest(request: NetworkServiceRequest, renaming: Renaming): NetworkServiceRequest {
  if (renaming.size === 0) return request;
  const { connection, mechanism_preferences } = request;
  return {
    ...request,
    connection: connection === undefined ? undefined : renameIn(connection, renaming),
    mechanism_preferences: mechanism_preferences.map((mechanism) => marked(mechanism, renaming)),
  };
}

function renameIn(connection: Connection, renaming: Renaming): Connection {
  const { mechanism } = connection;
  if (mechanism === undefined) return connection;
  const renamed = marked(mechanism, renaming);
  return renamed === mechanism ? connection : { ...connection, mechanism: renamed };
}

function marked(mechanism: Mechanism, renaming: Renaming): Mechanism {
  const url = fileUrlOf(mechanism);
  if (url === undefined || !renaming.has(url)) return mechanism;
  // A mechanism object of its own, also where the name stays: what came with this call is known by it.
  const renamed = { ...renameMechanism(mechanism, renaming) };
  given.add(renamed);
  return renamed;
}

/** The caller's own names as it wrote them; a file of ours as a descriptor. */
function sendAnswer(
  answer: Connection,
  request: NetworkServiceRequest,
  renaming: Renaming,
  descriptors: Descriptors,
): Connection {
  const restored = renameMechanism(answer.mechanism, inverse(renaming));
  if (restored !== answer.mechanism) return { ...answer, mechanism: restored };
  const url = fileUrlOf(answer.mechanism);
  const asked = [request.connection?.mechanism, ...request.mechanism_preferences].some((one) => fileUrlOf(one) === url);
  const name = url === undefined || asked ? undefined : sendFile(url, descriptors);
  if (url === undefined || name === undefined || name === url) return answer;
  return { ...answer, mechanism: renameMechanism(answer.mechanism, new Map([[url, name]])) };
}
