/** Two nodes with a `weft forwarder` process each, which can be killed; their managers are registries in this process. For tests. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ConnectionApi, Payload } from "../../sdk/api.js";
import type { Handler } from "../../sdk/chain.js";
import { Connection } from "../../sdk/gen/connection.js";
import { IPContext } from "../../sdk/gen/connectioncontext.js";
import { type NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { spawnInNetns } from "../../sdk/linux/netns.js";
import { kernelMechanism } from "../../sdk/mechanisms/kernel.js";
import { createMonitorHub } from "../../sdk/monitor/hub.js";
import { matchesEndpoint, matchesService } from "../../sdk/registry/match.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { createFakeRegistry } from "../../sdk/testing/fake-registry.js";
import { joinNetns, namelessNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { listen } from "../../sdk/transport/listen.js";
import {
  connectionService,
  endpointRegistryService,
  findOf,
  monitorService,
  serviceRegistryService,
} from "../../sdk/transport/services.js";
import type { TunnelBackend } from "../dataplane/kernel/tuns.js";

type Test = Parameters<typeof temporaryNetns>[0];

interface Forwarder {
  readonly pid: number | undefined;
  start(): Promise<void>;
  kill(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
}

export interface NodeProcessOptions {
  readonly payload?: Payload;
  readonly backend?: TunnelBackend;
  /** Of what flows through the remote connection. */
  readonly family?: 4 | 6;
  /** Forwarders in PID namespaces of their own, and workloads whose namespaces only descriptors lead to. */
  readonly isolated?: boolean;
  /** Instead of `node`: a program that starts it with these arguments. */
  readonly launcher?: readonly string[];
  /** More of the forwarders' environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export async function createNodeProcesses(t: Test, options: NodeProcessOptions = {}) {
  const { payload = Payload.ETHERNET, family = 4 } = options;
  const [a, b] = [temporaryNetns(t, "a"), temporaryNetns(t, "b")];
  const workload = (purpose: string) => (options.isolated === true ? namelessNetns(t) : temporaryNetns(t, purpose));
  const [client, endpoint] = [workload("cl"), workload("ep")];
  joinNetns({ netns: a, name: "under", addresses: ["198.18.0.1/24"] }, { netns: b, name: "under", addresses: ["198.18.0.2/24"] });
  const dir = mkdtempSync(join(tmpdir(), "wt-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const dialer = createDialer({ dialTimeoutMs: 2_000 });
  t.after(() => dialer.close());
  const endpointUrl = await serveEndpoint(t, `unix://${dir}/endpoint.sock`, endpoint, family);
  const managers = {
    a: await serveManager(t, `unix://${dir}/a.sock`, { "nse-local": endpointUrl, "nse-remote": "tcp://198.18.0.2:5001" }),
    b: await serveManager(t, `unix://${dir}/b.sock`, { "nse-remote": endpointUrl }),
  };
  const url = `unix://${dir}/forwarder-a.sock`;
  const { signal } = new AbortController();
  const backend = options.backend === undefined ? "auto" : { kernel: "kernel", program: "wireguard-go" }[options.backend];
  const launcher = [...(options.isolated === true ? ownPids : []), ...(options.launcher ?? [])];
  const more = { launcher, more: { WEFT_WIREGUARD: backend, ...options.env } };
  return {
    client,
    endpoint,
    a: forwarderProcess(t, dialer, a, { name: "a", dir, tunnelIp: "198.18.0.1", manager: managers.a, listenOn: url, ...more }),
    b: forwarderProcess(t, dialer, b, {
      ...{ name: "b", dir, tunnelIp: "198.18.0.2", manager: managers.b },
      listenOn: `unix://${dir}/forwarder-b.sock,tcp://198.18.0.2:5001`,
      ...more,
    }),
    /** How many wireguard-go processes there are on a node. */
    tunnelsOn: (node: "a" | "b") => countTunnels({ a, b }[node]),
    inventory: () => [a, b, client, endpoint].map(linksOf),
    close: (connection: Connection) => dialer.connections(url).close(connection, { signal }),
    request(to: "local" | "remote", refreshed?: Connection, lifetimeMs = 60_000): Promise<Connection> {
      const first = Connection.fromPartial({
        id: `client-${to}`,
        network_service: "svc",
        network_service_endpoint_name: `nse-${to}`,
        payload,
        path: { index: 0, path_segments: [{ name: "client", id: `client-${to}` }] },
      });
      const connection = refreshed ?? first;
      const path_segments = connection.path?.path_segments.slice() ?? [];
      path_segments[0] = {
        ...(path_segments[0] ?? { name: "", id: "", token: "", metrics: {} }),
        expires: timestampOf(Date.now() + lifetimeMs),
      };
      const mechanism_preferences = [kernelMechanism({ netnsUrl: client.url, interfaceName: `if-${to}` })];
      const request = { connection: { ...connection, path: { index: 0, path_segments } }, mechanism_preferences };
      return dialer.connections(url).request(request, { signal, deadlineMs: Date.now() + 15_000 });
    },
  };
}

interface ForwarderOptions {
  readonly name: string;
  readonly dir: string;
  readonly tunnelIp: string;
  readonly manager: string;
  readonly listenOn: string;
  readonly launcher: readonly string[];
  readonly more: Readonly<Record<string, string>>;
}

const ownPids = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** `weft forwarder` in the namespace of its node. */
function forwarderProcess(t: Test, dialer: Dialer, node: TestNetns, options: ForwarderOptions): Forwarder {
  const weft = fileURLToPath(new URL("../../scripts/weft.mjs", import.meta.url));
  let child: ChildProcess | undefined;
  const kill = async (signal: "SIGKILL" | "SIGTERM"): Promise<void> => {
    const dying = child;
    child = undefined;
    if (dying === undefined || dying.exitCode !== null || dying.signalCode !== null) return;
    const exited = once(dying, "exit");
    // What starts it in a PID namespace of its own passes nothing on, and takes it along.
    dying.kill(options.launcher[0] === ownPids[0] ? "SIGKILL" : signal);
    await exited;
  };
  t.after(() => kill("SIGTERM"));
  return {
    kill,
    get pid() {
      return child?.pid;
    },
    async start() {
      const env = {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        NSM_NAME: `forwarder-${options.name}`,
        NSM_CONNECT_TO: options.manager,
        NSM_LISTEN_ON: options.listenOn,
        NSM_TUNNEL_IP: options.tunnelIp,
        WEFT_STATE_DIR: join(options.dir, `state-${options.name}`),
        ...options.more,
      };
      let log = "";
      const [program = "", ...args] = [...options.launcher, process.execPath, weft, "forwarder", "--insecure"];
      const started = spawnInNetns(node, program, args, {
        env,
        stdio: ["ignore", "ignore", "pipe"],
      });
      child = started;
      started.stderr?.on("data", (chunk) => {
        log = (log + String(chunk)).slice(-100_000);
      });
      const [url = ""] = options.listenOn.split(",");
      await until(
        `forwarder ${options.name} serves`,
        async () => {
          if (started.exitCode !== null) throw new Error(`forwarder ${options.name} ended:\n${log}`);
          const status = await dialer.health(url, "", AbortSignal.timeout(1_000)).catch(() => undefined);
          return status === ServingStatus.SERVING;
        },
        40_000,
      );
    },
  };
}

/** The registry side of a manager: knows where endpoints are, as seen from its node. */
async function serveManager(t: Test, url: string, urls: Readonly<Record<string, string>>): Promise<string> {
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  const services = createFakeRegistry<NetworkService>(matchesService);
  const { signal } = new AbortController();
  for (const [name, endpointUrl] of Object.entries(urls)) {
    await endpoints.register(NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["svc"], url: endpointUrl }), {
      signal,
    });
  }
  const bindings = [endpointRegistryService(endpoints, findOf(endpoints)), serviceRegistryService(services, findOf(services))];
  const listener = await listen({ urls: [url], services: bindings, log: silentLog, signal });
  t.after(() => listener.drain(0));
  return url;
}

/** An endpoint whose interfaces are in a namespace of its own: one pair of addresses for each kind of connection. */
async function serveEndpoint(t: Test, url: string, netns: TestNetns, family: 4 | 6): Promise<string> {
  const handler: Handler<ConnectionApi> = {
    async request({ connection = Connection.fromPartial({}) }) {
      const to = connection.network_service_endpoint_name;
      const net = to === "nse-local" ? "172.16.1" : "172.16.2";
      const mechanism = kernelMechanism({ netnsUrl: netns.url, interfaceName: to });
      const [src, dst] = family === 6 ? ["2001:db8:2::1/128", "2001:db8:2::2/128"] : [`${net}.1/32`, `${net}.2/32`];
      const ip_context = IPContext.fromPartial({ src_ip_addrs: [src], dst_ip_addrs: [dst] });
      const context = { MTU: 0, extra_context: {}, ...connection.context, ip_context };
      return { ...connection, mechanism, context };
    },
    async close() {},
  };
  const services = [connectionService(handler), monitorService(createMonitorHub())];
  const listener = await listen({ urls: [url], services, log: silentLog, signal: new AbortController().signal });
  t.after(() => listener.drain(0));
  return url;
}

/** Echo requests one after another until it is stopped. */
export function pingAlong(t: Test, netnsUrl: string, source: string, destination: string) {
  const stopped = new AbortController();
  t.after(() => stopped.abort());
  let sent = 0;
  let lost = 0;
  const running = (async () => {
    while (!stopped.signal.aborted) {
      const answer = await icmpEcho({ netnsUrl, source, destination, timeoutMs: 2_000, signal: new AbortController().signal });
      sent++;
      if (answer === undefined) lost++;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    /** Waits until so many more have been sent. */
    async more(count: number) {
      const goal = sent + count;
      await until(`${count} more echo requests`, () => sent >= goal, 30_000);
    },
    async stop() {
      stopped.abort();
      await running;
      return { sent, lost };
    },
  };
}

function countTunnels({ ino }: TestNetns): number {
  return readdirSync("/proc").filter((entry) => {
    try {
      const isOne = /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/cmdline`, "latin1").includes("wireguard-go\0");
      return isOne && statSync(`/proc/${entry}/ns/net`, { bigint: true }).ino === ino;
    } catch {
      return false;
    }
  }).length;
}

function linksOf(where: TestNetns): string[] {
  const socket = openNetlinkSocket(where);
  try {
    return listLinks(socket).map(({ name }) => name);
  } finally {
    socket.close();
  }
}
