/** Identities for all parts: a Workload API over an authority of the test's own, as SPIRE's agent would serve it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Authority, createAuthority } from "../../sdk/identity/authority.js";
import { serveWorkloadApi } from "../../sdk/identity/workload-api-server.js";
import { silentLog } from "../../sdk/telemetry/log.js";

export interface Identities {
  readonly authority: Authority;
  /** The bundle of another trust domain for everybody here. */
  federate(other: Authority): void;
  /** unix:///path, for SPIFFE_ENDPOINT_SOCKET. */
  readonly socket: string;
  close(): Promise<void>;
}

export const trustDomain = "interop.test";
const hourMs = 3_600_000;

/** Each process is known by the name it was started with (NAME in its environment), as a pod's would be by its pod. */
export async function serveIdentities(folder: string, domain = trustDomain): Promise<Identities> {
  const authority = await createAuthority(domain, { lifetimeMs: 24 * hourMs });
  const ending = new AbortController();
  const socket = `unix://${join(folder, `${domain}.sock`)}`;
  const server = await serveWorkloadApi({
    url: socket,
    authority,
    lifetimeMs: hourMs,
    idOf: ({ pid }) => `spiffe://${domain}/${nameOf(pid)}`,
    log: silentLog,
    signal: ending.signal,
  });
  return {
    authority,
    federate: (other) => server.federate(other.trustDomain, [other.certificate]),
    socket,
    async close() {
      ending.abort();
      await server.close();
    },
  };
}

function nameOf(pid: number): string {
  const line = readFileSync(`/proc/${pid}/environ`, "utf8")
    .split("\0")
    .find((entry) => entry.startsWith("INTEROP_NAME="));
  return line?.slice("INTEROP_NAME=".length) ?? "nobody";
}
