/**
 * The start.conf of a VPP of our own: no huge pages, no DPDK, a small heap, only the plugins that are used, and every file of it
 * in one folder. Sizes are of a trial (docs/vpp.md): the acl plugin's tables alone exhaust a heap of 128 MiB in their default size.
 */
import { join } from "node:path";

export interface VppPlaces {
  readonly folder: string;
  readonly confPath: string;
  readonly apiSocket: string;
  readonly cliSocket: string;
  readonly statsSocket: string;
  readonly logPath: string;
  /** Of the files in /dev/shm. */
  readonly shmPrefix: string;
}

export const plugins = ["acl", "af_packet", "l3xc", "memif", "ping", "vxlan", "wireguard"] as const;
/** In the program itself until 25.x, plugins since: it is no error when they are not there. */
const maybePlugins = ["tap"] as const;

export function placesIn(folder: string, shmPrefix: string): VppPlaces {
  return {
    folder,
    confPath: join(folder, "start.conf"),
    apiSocket: join(folder, "api.sock"),
    cliSocket: join(folder, "cli.sock"),
    statsSocket: join(folder, "stats.sock"),
    logPath: join(folder, "vpp.log"),
    shmPrefix,
  };
}

export interface VppSizes {
  readonly heapMebibytes: number;
  readonly buffers: number;
}

export const defaultSizes: VppSizes = { heapMebibytes: 256, buffers: 8192 };

export function startConf(places: VppPlaces, { heapMebibytes, buffers }: VppSizes): string {
  const enabled = [...plugins, ...maybePlugins].map((name) => `  plugin ${name}_plugin.so { enable }`).join("\n");
  return `# Written by weft at each start of this VPP; changes are lost.
unix {
  nodaemon
  nosyslog
  runtime-dir ${places.folder}
  cli-listen ${places.cliSocket}
}
api-segment { prefix ${places.shmPrefix} global-size 16M api-size 8M }
socksvr { socket-name ${places.apiSocket} }
statseg { socket-name ${places.statsSocket} size 16M page-size default }
memory { main-heap-size ${heapMebibytes}M main-heap-page-size default }
buffers { buffers-per-numa ${buffers} page-size default }
acl-plugin { connection count max 16384 connection hash buckets 1024 connection hash memory 8388608 }
plugins {
  plugin default { disable }
${enabled}
}
`;
}
