/** The settings of the forwarder. Names and defaults are upstream's where upstream has the setting. */
import { MechanismType } from "../sdk/api.js";
import { commonSettings, stateSettings } from "../sdk/config/common.js";
import { address, boolean, durationMs, integer, type Kind, list, map, name, oneOf, optional, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";
import { parsePrefix } from "../sdk/ip.js";
import { defaultVxlanPort } from "../sdk/mechanisms/vxlan.js";
import { defaultWireguardPort } from "../sdk/mechanisms/wireguard.js";
import { policySettings } from "../sdk/policies/settings.js";
import { dpdkSettings } from "./dpdk-device.js";
import { trafficSettings } from "./traffic.js";
import { vppSettings } from "./vpp-settings.js";

const addressOrPrefix: Kind<string> = {
  label: "IP|CIDR",
  parse(value) {
    const trimmed = value.trim();
    if (trimmed !== "" && parsePrefix(trimmed) === undefined) {
      throw new Error(`"${value}" is neither an IP address nor a prefix such as 198.18.0.0/15`);
    }
    return trimmed;
  },
};

/** 0 is how upstream writes the default. */
const vxlanPort: Kind<number> = {
  label: "PORT",
  parse: (value) => integer({ min: 0, max: 65_535 }).parse(value) || defaultVxlanPort,
};

export const forwarderSettings = {
  ...commonSettings,
  ...stateSettings,
  serverPolicies: policySettings.serverPolicies,
  monitorPolicies: policySettings.monitorPolicies,
  operators: policySettings.operators,
  tenantRate: policySettings.tenantRate,
  tenantBurst: policySettings.tenantBurst,
  tenantConcurrency: policySettings.tenantConcurrency,
  tenantQuota: policySettings.tenantQuota,
  maxUnderWay: policySettings.maxUnderWay,
  name: setting("NSM_NAME", name, "name of this forwarder; its segment in every path and its entry in the registry", {
    default: "forwarder",
  }),
  labels: setting("NSM_LABELS", map, "labels under which managers choose this forwarder", { default: "p2p:true" }),
  serviceName: setting("NSM_NS_NAME", name, "network service under which forwarders register", { default: "forwarder" }),
  connectTo: setting("NSM_CONNECT_TO", address, "the manager of this node", { default: "unix:///connect.to.socket" }),
  listenOn: setting("NSM_LISTEN_ON", list(address), "where the manager reaches this forwarder", {
    default: "unix:///listen.on.socket",
  }),
  maxTokenLifetimeMs: setting("NSM_MAX_TOKEN_LIFETIME", durationMs, "how long a connection lives without a refresh", {
    default: "10m",
  }),
  dialTimeoutMs: setting("NSM_DIAL_TIMEOUT", durationMs, "how long a connection to the next hop may take to open", {
    default: "750ms",
  }),
  tunnelIp: setting("NSM_TUNNEL_IP", addressOrPrefix, "where tunnels start: an address of this node, or a prefix that has one", {
    default: "",
  }),
  vxlanPort: setting("NSM_VXLAN_PORT", vxlanPort, "UDP port of VXLAN, equal on all nodes; 0 = 4789", { default: "0" }),
  wireguardPort: setting(
    "WEFT_WIREGUARD_PORT",
    integer({ min: 1, max: 65_535 }),
    "UDP port of the first WireGuard tunnel; each connection takes the next free one",
    { default: String(defaultWireguardPort) },
  ),
  wireguardBackend: setting(
    "WEFT_WIREGUARD",
    oneOf("auto", "kernel", "wireguard-go"),
    "what makes WireGuard interfaces; auto: the kernel where it can, else the program wireguard-go",
    { default: "auto" },
  ),
  keyPeriodMs: setting(
    "WEFT_WIREGUARD_KEY_PERIOD",
    durationMs,
    "how old the static keys of a WireGuard tunnel become; the first refresh after it rotates them, none is lost; 0s = for ever",
    { default: "1h" },
  ),
  pathMtuIntervalMs: setting(
    "WEFT_PATH_MTU_INTERVAL",
    durationMs,
    "how often the largest packet that reaches each other node is measured; 0s = never, only the MTU of the own link counts",
    { default: "2s" },
  ),
  mechanismPriority: setting(
    "NSM_MECHANISM_PRIORITY",
    list(oneOf(...Object.values(MechanismType))),
    "mechanisms to propose first to the next hop, in this order",
    { default: "" },
  ),
  dataPlane: setting(
    "WEFT_DATAPLANE",
    oneOf("auto", "kernel", "fast", "vpp", "none"),
    "what moves the packets: auto = the kernel, with the packet core for memif; fast = the core also ends tunnels; " +
      "vpp = everything passes VPP (docs/vpp.md); " +
      "none negotiates every mechanism and builds nothing",
    { default: "auto", flag: "--dataplane" },
  ),
  directMemif: setting(
    "WEFT_DIRECT_MEMIF",
    boolean,
    "memif workloads of one node share their rings; false = the packet core is between",
    {
      default: "true",
    },
  ),
  coreHost: setting(
    "WEFT_CORE_HOST",
    oneOf("keeper", "service", "thread"),
    "where the packet core runs: in processes of its own that we start, or that a service runs (weft-fast keeper STATE/core.sock), or in this one",
    {
      default: "keeper",
    },
  ),
  ...dpdkSettings,
  ...vppSettings,
  ...trafficSettings,
  drainTimeoutMs: setting("WEFT_DRAIN_TIMEOUT", durationMs, "how long running calls may finish after SIGTERM", { default: "5s" }),
  publicUrl: setting("WEFT_PUBLIC_URL", optional(text), "URL told to the manager; default: the first of the listen list", {
    default: "",
  }),
} as const;

export type ForwarderConfig = Values<typeof forwarderSettings>;
