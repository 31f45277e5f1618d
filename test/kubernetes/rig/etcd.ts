/** Real etcd servers: one for an API server, or the members of a cluster. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { program } from "./programs.js";
import { freePorts, type Server, startServer } from "./server.js";

export interface EtcdMember {
  readonly name: string;
  /** http://127.0.0.1:PORT */
  readonly url: string;
  readonly dir: string;
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  log(): string;
}

/** Members that know each other; none is started yet. With more than one, start all at once: the first waits for a quorum. */
export async function etcdMembers(count: number, dir: string): Promise<EtcdMember[]> {
  const ports = await freePorts(2 * count);
  const names = Array.from({ length: count }, (_, i) => `m${i}`);
  const peerUrl = (i: number): string => `http://127.0.0.1:${ports[2 * i + 1]}`;
  const cluster = names.map((name, i) => `${name}=${peerUrl(i)}`).join(",");
  return names.map((name, i) => member(name, { url: `http://127.0.0.1:${ports[2 * i]}`, peerUrl: peerUrl(i), cluster, dir }));
}

function member(name: string, at: { url: string; peerUrl: string; cluster: string; dir: string }): EtcdMember {
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
      };
      const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
      server = startServer(`etcd ${name}`, [program("etcd"), ...args]);
      await server.until("healthy", async () => {
        const answer = await fetch(`${at.url}/health`, { signal: AbortSignal.timeout(2_000) });
        return ((await answer.json()) as { health?: string }).health === "true";
      });
    },
    async stop(signal) {
      await server?.stop(signal);
      server = undefined;
    },
  };
}
