/** What an endpoint needs around it in a test: a registry to enter itself into, and a caller. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Payload } from "../api.js";
import { backgroundCall } from "../chain.js";
import { type ServeOptions, type Serving, serve } from "../endpoint/serve.js";
import type { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import type { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { matchesEndpoint, matchesService } from "../registry/match.js";
import { silentLog } from "../telemetry/log.js";
import { timestampOf } from "../timestamp.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { listen } from "../transport/listen.js";
import { endpointRegistryService, findOf, serviceRegistryService } from "../transport/services.js";
import type { CleanUp } from "./cleanup.js";
import { createFakeRegistry, type FakeRegistry } from "./fake-registry.js";

/** The part of a test context that is used. */
export interface TestSubject extends CleanUp {
  readonly signal: AbortSignal;
}

export interface Mesh {
  readonly url: string;
  readonly services: FakeRegistry<NetworkService>;
  readonly endpoints: FakeRegistry<NetworkServiceEndpoint>;
  readonly dialer: Dialer;
  request(endpoint: Serving, connection: Parameters<typeof Connection.fromPartial>[0], expiresMs?: number): Promise<Connection>;
}

/** A registry that answers as a node manager does to endpoints, on a unix socket. */
export async function startRegistry(t: TestSubject): Promise<Mesh> {
  const url = `unix://${temporaryFolder(t)}/nsm.sock`;
  const services = createFakeRegistry<NetworkService>(matchesService);
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  const call = backgroundCall(t.signal);
  const listener = await listen({
    urls: [url],
    services: [
      serviceRegistryService(
        { register: (entry) => services.register(entry, call), unregister: (entry) => services.unregister(entry, call) },
        findOf(services),
      ),
      endpointRegistryService(
        { register: (entry) => endpoints.register(entry, call), unregister: (entry) => endpoints.unregister(entry, call) },
        findOf(endpoints),
      ),
    ],
    log: silentLog,
    signal: new AbortController().signal,
  });
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  t.after(async () => {
    dialer.close();
    await listener.drain(0);
  });
  return {
    url,
    services,
    endpoints,
    dialer,
    async request(endpoint, connection, expiresMs = Date.now() + 600_000) {
      const { path } = connection ?? {};
      const segment = { name: "client", id: connection?.id ?? "", expires: timestampOf(expiresMs) };
      const request = NetworkServiceRequest.fromPartial({
        connection: { network_service: "svc", path: path ?? { index: 0, path_segments: [segment] }, ...connection },
        mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: "inode://4/1" } }],
      });
      return dialer.connections(endpoint.url).request(request, { signal: t.signal });
    },
  };
}

/** An endpoint of that registry; closed when the test ends. */
export async function startEndpoint(t: TestSubject, mesh: Mesh, options: Partial<ServeOptions>): Promise<Serving> {
  const stop = new AbortController();
  const endpoint = await serve({
    name: "nse-1",
    services: ["svc"],
    cidrs: ["10.0.0.0/24"],
    payload: Payload.ETHERNET,
    nsmgr: mesh.url,
    signal: stop.signal,
    // Its clients here do not listen, so there is nobody to send away.
    unregisterItself: false,
    ...options,
  });
  t.after(() => endpoint.close());
  return endpoint;
}

export function temporaryFolder(t: CleanUp): string {
  const folder = mkdtempSync(join(tmpdir(), "wt-endpoint-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
