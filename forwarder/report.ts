/** What an operator may ask of the forwarder: what this machine can do, what was built, and why. */
import type { Journal } from "../sdk/elements/explain.js";
import { Fact } from "../sdk/gen/inspect.js";
import { Code, statusError } from "../sdk/status.js";
import { type Log, logLevels, parseLogLevel } from "../sdk/telemetry/log.js";
import type { Inspect } from "../sdk/transport/services.js";
import type { ForwarderConfig } from "./config.js";
import type { Connections } from "./connections.js";
import type { Capability, DataPlane, Port } from "./dataplane/dataplane.js";

export interface ReportParts {
  readonly config: Pick<ForwarderConfig, "name" | "vxlanPort">;
  readonly log: Log;
  readonly journal: Pick<Journal, "explain">;
  readonly dataPlane: DataPlane;
  readonly connections: Connections;
  /** Undefined = this node has no address for tunnels. */
  readonly tunnelAddress: string | undefined;
}

export function inspectForwarder(parts: ReportParts): Inspect {
  const { config, log, journal } = parts;
  return {
    explain: async ({ connection_id }) => ({ component: config.name, decisions: journal.explain(connection_id) }),
    async getReport({ section }) {
      const wanted = (name: string): boolean => section === "" || section === name;
      const facts: Fact[] = [];
      if (wanted("capabilities")) facts.push(...(await capabilityFacts(parts)));
      if (wanted("addresses")) facts.push(...addressFacts(parts));
      if (wanted("connections")) facts.push(...connectionFacts(parts));
      if (wanted("objects")) facts.push(...(await objectFacts(parts)));
      if (wanted("counters")) facts.push(...(await counterFacts(parts)));
      return { component: config.name, facts };
    },
    async setLogLevel({ level }) {
      const wanted = parseLogLevel(level);
      if (level !== "" && wanted === undefined) {
        const text = `"${level.slice(0, 40)}" is no log level; there are ${logLevels.join(", ")}`;
        throw statusError(Code.INVALID_ARGUMENT, text);
      }
      if (wanted !== undefined) log.level = wanted;
      return { level: log.level };
    },
  };
}

/** The table of capabilities as lines of text, for the log at start. */
export function capabilityTable(capabilities: readonly Capability[]): string[] {
  const width = Math.max(0, ...capabilities.map(({ name }) => name.length));
  return capabilities.map(({ name, supported, detail }) => `${name.padEnd(width)}  ${supported.padEnd(7)}  ${detail}`);
}

async function capabilityFacts({ dataPlane }: ReportParts): Promise<Fact[]> {
  const capabilities = (await dataPlane.capabilities()).map(({ name, supported, detail }) =>
    fact({ section: "capabilities", name, value: supported, detail }),
  );
  const mechanisms = (await dataPlane.mechanisms()).join(", ");
  return [
    ...capabilities,
    fact({ section: "capabilities", name: "mechanisms", value: mechanisms, detail: `built by data plane "${dataPlane.name}"` }),
  ];
}

function addressFacts({ config, tunnelAddress }: ReportParts): Fact[] {
  const none = "none: connections to other nodes are refused; set NSM_TUNNEL_IP";
  return [
    fact({ section: "addresses", name: "tunnel", value: tunnelAddress ?? "", detail: tunnelAddress === undefined ? none : "" }),
    fact({ section: "addresses", name: "vxlan port", value: String(config.vxlanPort), detail: "UDP, equal on all nodes" }),
  ];
}

function connectionFacts({ dataPlane, connections }: ReportParts): Fact[] {
  return dataPlane.list().map(({ id, client, endpoint, mtuBytes, payload }) => {
    const held = connections.get(id);
    return fact({
      section: "connections",
      name: id,
      value: `${describePort(client)} ↔ ${describePort(endpoint)}`,
      detail: `${held?.answered.network_service ?? ""} at ${held?.nextHop.name ?? ""}, MTU ${mtuBytes}, payload ${payload}`,
      connection_id: id,
    });
  });
}

async function objectFacts({ dataPlane }: ReportParts): Promise<Fact[]> {
  return (await dataPlane.objects()).map(({ kind, name, netnsUrl, connectionId }) =>
    fact({ section: "objects", name: `${kind} ${name}`, value: netnsUrl, connection_id: connectionId }),
  );
}

async function counterFacts({ dataPlane }: ReportParts): Promise<Fact[]> {
  const facts: Fact[] = [];
  for (const { id } of dataPlane.list()) {
    const counters = await dataPlane.counters(id);
    for (const [name, value] of Object.entries(counters ?? {})) {
      facts.push(
        fact({ section: "counters", name, value: String(value), detail: "at the client's interface", connection_id: id }),
      );
    }
  }
  return facts;
}

function describePort(port: Port): string {
  switch (port.kind) {
    case "kernel":
      return `${port.interfaceName} in ${port.netnsUrl}`;
    case "vxlan":
      return `vxlan ${port.vni} ${port.localAddress} → ${port.remoteAddress}:${port.udpPort}`;
    case "wireguard":
      return `wireguard ${port.localAddress}:${port.listenPort} → ${port.remoteAddress}:${port.remotePort}`;
    case "memif":
      return `memif ${port.role} ${port.socketFile} in ${port.netnsUrl || "the forwarder's namespace"}`;
    case "noop":
      return port.mechanism.toLowerCase();
  }
}

function fact(fields: Parameters<typeof Fact.fromPartial>[0]): Fact {
  return Fact.fromPartial(fields);
}
