/**
 * A SPIFFE Workload API server over an authority of our own, for tests and small labs (`weft spiffe serve`). Who asks is
 * known by the credentials of the unix socket; nothing else is attested.
 */
import type { X509Certificate } from "node:crypto";
import type { CallContext } from "../chain.js";
import { type X509SVIDRequest, X509SVIDResponse } from "../gen/workload.js";
import { pause } from "../pause.js";
import { Code, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { ServiceBinding } from "../transport/edge.js";
import { listen } from "../transport/listen.js";
import type { Authority } from "./authority.js";
import { fetchSvid, workloadHeader } from "./workload-api-client.js";

/** A process as the kernel knows it; zeros when it asks over TCP. */
export interface Workload {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface WorkloadApiOptions {
  /** unix:///path or tcp://address:port. */
  readonly url: string;
  readonly authority: Authority;
  readonly lifetimeMs: number;
  /** The SPIFFE ID of a caller; undefined = it has none, and is refused. */
  readonly idOf: (workload: Workload) => string | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface WorkloadApiServer {
  readonly url: string;
  /** New certificates for everybody, now; else each is renewed after half of its life. */
  rotate(): void;
  /** Adds or changes the bundle of another trust domain, for everybody. */
  federate(trustDomain: string, authorities: readonly X509Certificate[]): void;
  close(): Promise<void>;
}

/** @throws as `listen` */
export async function serveWorkloadApi(options: WorkloadApiOptions): Promise<WorkloadApiServer> {
  const federated = new Map<string, readonly X509Certificate[]>();
  let waiting = new AbortController();
  const renewAll = (): void => {
    const before = waiting;
    waiting = new AbortController();
    before.abort();
  };

  async function* answer(_: X509SVIDRequest, context: CallContext): AsyncIterable<X509SVIDResponse> {
    if (context.metadata(workloadHeader)[0] !== "true") {
      throw statusError(Code.INVALID_ARGUMENT, `the security header ${workloadHeader} is missing`);
    }
    const { peer } = context;
    const workload = peer.kind === "unix" ? { pid: peer.pid, uid: peer.uid, gid: peer.gid } : { pid: 0, uid: 0, gid: 0 };
    const id = options.idOf(workload);
    if (id === undefined) throw statusError(Code.PERMISSION_DENIED, "no identity issued");
    while (!context.signal.aborted) {
      // before the certificate is made: what changes meanwhile is not missed
      const changed = AbortSignal.any([waiting.signal, context.signal]);
      yield await svidFor(options, id, federated);
      await pause(options.lifetimeMs / 2, changed);
    }
  }

  const service: ServiceBinding = { name: "SpiffeWorkloadAPI", bind: (edge) => edge.stream(fetchSvid, answer) };
  const { url, log, signal } = options;
  const listener = await listen({ urls: [url], services: [service], log, signal });
  return {
    url: listener.urls[0] ?? url,
    rotate: renewAll,
    federate(trustDomain, authorities) {
      federated.set(trustDomain, authorities);
      renewAll();
    },
    close: () => listener.drain(0),
  };
}

async function svidFor(
  { authority, lifetimeMs }: WorkloadApiOptions,
  id: string,
  federated: ReadonlyMap<string, readonly X509Certificate[]>,
): Promise<X509SVIDResponse> {
  const { certificate, privateKey } = await authority.issue([id], { lifetimeMs });
  return X509SVIDResponse.fromPartial({
    svids: [
      {
        spiffe_id: id,
        x509_svid: certificate.raw,
        x509_svid_key: privateKey.export({ type: "pkcs8", format: "der" }),
        bundle: authority.certificate.raw,
      },
    ],
    federated_bundles: Object.fromEntries(
      [...federated].map(([domain, certificates]) => [`spiffe://${domain}`, Buffer.concat(certificates.map(({ raw }) => raw))]),
    ),
  });
}
