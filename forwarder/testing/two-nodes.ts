/** Two forwarders "a" and "b" on two nodes, joined by function calls; "b" has the endpoint of the remote connections. For tests. */
import assert from "node:assert/strict";
import type { ConnectionApi, MechanismType } from "../../sdk/api.js";
import { backgroundCall, type CallContext, type Handler } from "../../sdk/chain.js";
import { manualClock } from "../../sdk/clock.js";
import { expire } from "../../sdk/elements/expire.js";
import { createJournal } from "../../sdk/elements/explain.js";
import { serialize } from "../../sdk/elements/serialize.js";
import { Connection, type Mechanism } from "../../sdk/gen/connection.js";
import type { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { kernelMechanism } from "../../sdk/mechanisms/kernel.js";
import { withParameters } from "../../sdk/mechanisms/parameters.js";
import { createMonitorHub } from "../../sdk/monitor/hub.js";
import { enterHop, leaveHop } from "../../sdk/path.js";
import { Code, statusError } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { forwarderChain } from "../chain.js";
import { createConnections } from "../connections.js";
import type { DataPlane } from "../dataplane/dataplane.js";
import { mechanismKinds } from "../mechanism-kinds.js";
import type { KeyRotation } from "../mechanisms/wireguard-rotation.js";
import { createVniPool } from "../vni.js";
import { createWireguardEnds } from "../wireguard-ends.js";
import { type RecordingDataPlane, recordingDataPlane } from "./recording-data-plane.js";

const pair: Partial<ConnectionContext> = {
  ip_context: {
    ...{ src_ip_required: false, dst_ip_required: false, excluded_prefixes: [], ip_neighbors: [], policies: [] },
    ...{ extra_prefix_request: [], extra_prefixes: [] },
    src_ip_addrs: ["172.16.1.101/32"],
    dst_ip_addrs: ["172.16.1.100/32"],
    src_routes: [{ prefix: "172.16.1.100/32", nextHop: "" }],
    dst_routes: [{ prefix: "172.16.1.101/32", nextHop: "" }],
  },
};

export const ip = (): NonNullable<ConnectionContext["ip_context"]> =>
  pair.ip_context as NonNullable<ConnectionContext["ip_context"]>;
/** A random number from which the pool makes VNI 2. */
export const givesVni2 = 1.5 / 2 ** 23;
export const kernel = (netnsUrl = "file:///run/netns/wt-client", interfaceName = "nsm-1"): Mechanism =>
  kernelMechanism({ netnsUrl, interfaceName });

export interface MeshOptions {
  readonly vxlanPort?: { a: number; b: number };
  readonly priority?: readonly string[];
  readonly random?: readonly number[];
  readonly none?: boolean;
  /** What recording data planes build; default KERNEL and VXLAN. */
  readonly mechanisms?: Partial<Record<"a" | "b", readonly MechanismType[]>>;
  readonly tunnels?: { readonly a: string; readonly b: string };
  /** Instead of recording ones. */
  readonly planes?: { readonly a: DataPlane; readonly b: DataPlane };
  /** URLs of the namespaces of client and endpoint. */
  readonly netns?: { readonly client: string; readonly endpoint: string };
  /** Of WireGuard keys, on both. */
  readonly keyRotation?: KeyRotation;
  /** Where forwarder "a" believes endpoints to be. */
  readonly urls?: Readonly<Record<string, string>>;
}

export interface Asking {
  readonly connection?: Connection;
  readonly id?: string;
  readonly payload?: string;
  readonly preferences?: readonly Mechanism[];
  /** Makes something else of the connection before it is sent. */
  readonly change?: (connection: Connection) => Connection;
}

export async function createMesh(t: { after(end: () => void): void }, options: MeshOptions = {}) {
  const clock = manualClock(1_000_000);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const { signal } = stop;
  const call: CallContext = backgroundCall(signal);
  const endpoint = createEndpoint(options.netns?.endpoint);
  const handlers = new Map<string, Handler<ConnectionApi>>([["unix:///nse", endpoint]]);
  const dialer = {
    connections: (url: string) => {
      const handler = handlers.get(url);
      if (handler === undefined) throw statusError(Code.UNAVAILABLE, `nobody at ${url}`);
      return {
        request: (request: Parameters<Handler<ConnectionApi>["request"]>[0]) => handler.request(request, call),
        close: (connection: Connection) => handler.close(connection, call),
      };
    },
    async *monitor() {
      await new Promise<never>(() => {});
    },
  };
  const numbers = [...(options.random ?? [])];
  const random = () => (numbers.length > 1 ? (numbers.shift() ?? 0) : (numbers[0] ?? Math.random()));

  const freshUrls: Record<string, string> = {};
  async function forwarder(name: "a" | "b", urls: Record<string, string>) {
    const recorded: RecordingDataPlane = recordingDataPlane(options.mechanisms?.[name]);
    const plane: RecordingDataPlane = options.none
      ? Object.assign(recorded, {
          name: "none",
          mechanisms: async () => ["KERNEL", "MEMIF", "VXLAN", "WIREGUARD", "IPSEC"] as const,
        })
      : recorded;
    const vnis = createVniPool(random);
    const hub = createMonitorHub();
    const tunnelAddress = (options.tunnels ?? { a: "198.18.0.1", b: "198.18.0.2" })[name];
    const dataPlane = options.planes?.[name] ?? plane;
    const wireguardEnds = createWireguardEnds(51_820, undefined, options.keyRotation?.nowMs);
    const udpPort = options.vxlanPort?.[name] ?? 4789;
    const kinds = await mechanismKinds({
      ...{ dataPlane, vnis, wireguardEnds, tunnelAddress, udpPort },
      keyRotation: options.keyRotation,
    });
    const handler = forwarderChain({
      name: `forwarder-${name}`,
      clock,
      log: silentLog,
      observer: undefined,
      maxTokenLifetimeMs: 600_000,
      serialize: serialize({ log: silentLog }),
      expire: expire(clock, signal),
      hub,
      journal: createJournal(),
      signal,
      services: {
        async *find({ name }) {
          yield { entry: NetworkService.fromPartial({ name, payload: "ETHERNET" }), deleted: false };
        },
      },
      endpoints: {
        async *find({ name }, { fresh }) {
          const url = fresh ? (freshUrls[name] ?? urls[name]) : urls[name];
          if (url !== undefined) yield { entry: NetworkServiceEndpoint.fromPartial({ name, url }), deleted: false };
        },
      },
      dialer,
      dataPlane,
      kinds,
      connections: createConnections(),
      vnis,
      mechanismPriority: options.priority ?? [],
    });
    return { plane, handler, hub, vnis };
  }

  const a = await forwarder("a", { "nse-local": "unix:///nse", "nse-remote": "tcp://198.18.0.2:5001", ...options.urls });
  const b = await forwarder("b", { "nse-remote": "unix:///nse", "nse-moved": "unix:///nse" });
  handlers.set("tcp://198.18.0.2:5001", b.handler);

  return {
    a,
    b,
    endpoint,
    freshUrls,
    close: (name: "a" | "b", connection: Connection) => ({ a, b })[name].handler.close(connection, call),
    request(name: "a" | "b", to: string, asking: Asking = {}): Promise<Connection> {
      const id = asking.id ?? "client-1";
      const fresh = Connection.fromPartial({
        id,
        network_service: "icmp-responder",
        network_service_endpoint_name: `nse-${to}`,
        payload: asking.payload ?? "ETHERNET",
        path: { index: 0, path_segments: [{ name: "client", id, expires: timestampOf(clock.nowMs() + 60_000) }] },
      });
      const connection = asking.change?.(asking.connection ?? fresh) ?? asking.connection ?? fresh;
      const mechanism_preferences = [...(asking.preferences ?? [kernel(options.netns?.client)])];
      return { a, b }[name].handler.request({ connection, mechanism_preferences }, call);
    },
  };
}

/** An endpoint that answers with KERNEL if it is proposed. */
function createEndpoint(netnsUrl = "file:///run/netns/wt-nse") {
  const open = new Set<string>();
  const endpoint = {
    open,
    closes: 0,
    asked: [] as Mechanism[][],
    context: pair as Partial<ConnectionContext>,
    mechanism: undefined as Mechanism | undefined,
    netnsUrl: (_connection: Connection): string => netnsUrl,
    interfaceName: (_connection: Connection): string => "nse-if",
    async request({ connection, mechanism_preferences }: Parameters<Handler<ConnectionApi>["request"]>[0]) {
      assert.ok(connection);
      endpoint.asked.push(mechanism_preferences);
      const hop = enterHop(connection, connection.network_service_endpoint_name, () => `nse-${open.size}-id`);
      const chosen = connection.mechanism ?? mechanism_preferences[0];
      const mechanism =
        endpoint.mechanism ??
        (chosen?.type === "KERNEL"
          ? withParameters(chosen, { inodeURL: endpoint.netnsUrl(connection), name: endpoint.interfaceName(connection) })
          : chosen);
      open.add(connection.network_service_endpoint_name);
      const context = { ...hop.connection.context, ...endpoint.context } as ConnectionContext;
      return leaveHop({ ...hop.connection, mechanism, context }, hop);
    },
    async close(connection: Connection) {
      endpoint.closes++;
      open.delete(connection.network_service_endpoint_name);
    },
  };
  return endpoint;
}
