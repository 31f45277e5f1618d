/** Real etcd servers: one for an API server, or the members of a cluster. */
import { mkdirSync, readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { program } from "./programs.js";
import { freePorts, type Server, startServer } from "./server.js";
import type { TlsFiles } from "./tls.js";

export interface EtcdMember {
  readonly name: string;
  /** http://127.0.0.1:PORT, https with TLS */
  readonly url: string;
  readonly dir: string;
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  log(): string;
}

/** Members that know each other; none is started yet. With more than one, start all at once: the first waits for a quorum. */
export async function etcdMembers(count: number, dir: string, tls?: TlsFiles): Promise<EtcdMember[]> {
  const ports = await freePorts(2 * count);
  const names = Array.from({ length: count }, (_, i) => `m${i}`);
  const peerUrl = (i: number): string => `http://127.0.0.1:${ports[2 * i + 1]}`;
  const cluster = names.map((name, i) => `${name}=${peerUrl(i)}`).join(",");
  const scheme = tls === undefined ? "http" : "https";
  return names.map((name, i) =>
    member(name, { url: `${scheme}://127.0.0.1:${ports[2 * i]}`, peerUrl: peerUrl(i), cluster, dir, tls }),
  );
}

interface Place {
  readonly url: string;
  readonly peerUrl: string;
  readonly cluster: string;
  readonly dir: string;
  readonly tls: TlsFiles | undefined;
}

function member(name: string, at: Place): EtcdMember {
  const dir = join(at.dir, `etcd-${name}`);
  let server: Server | undefined;
  return {
    name,
    url: at.url,
    dir,
    log: () => server?.log() ?? "",
    async start() {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      const flags = {
        name,
        "data-dir": dir,
        "listen-client-urls": at.url,
        "advertise-client-urls": at.url,
        "listen-peer-urls": at.peerUrl,
        "initial-advertise-peer-urls": at.peerUrl,
        "initial-cluster": at.cluster,
        // a test's disk is not worth waiting for
        "unsafe-no-fsync": "true",
        "log-level": "warn",
        // who shows no certificate of the authority is not answered
        ...(at.tls !== undefined && {
          "cert-file": at.tls.certFile,
          "key-file": at.tls.keyFile,
          "trusted-ca-file": at.tls.caFile,
          "client-cert-auth": "true",
        }),
      };
      const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
      server = startServer(`etcd ${name}`, [program("etcd"), ...args]);
      await server.until("healthy", async () => {
        const answer = at.tls === undefined ? await ask(at.url) : await askSecurely(at.url, at.tls);
        return (JSON.parse(answer) as { health?: string }).health === "true";
      });
    },
    async stop(signal) {
      await server?.stop(signal);
      server = undefined;
    },
  };
}

async function ask(url: string): Promise<string> {
  const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) });
  return await answer.text();
}

function askSecurely(url: string, { caFile, certFile, keyFile }: TlsFiles): Promise<string> {
  const [ca, cert, key] = [caFile, certFile, keyFile].map((file) => readFileSync(file));
  const options = { ca, cert, key, signal: AbortSignal.timeout(2_000) };
  return new Promise((resolve, reject) => {
    const made = request(`${url}/health`, options, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += String(chunk)));
      response.on("end", () => resolve(text));
    });
    made.on("error", reject);
    made.end();
  });
}
