/** The settings of the node manager. Names and defaults are upstream's where upstream has the setting. */
import { commonSettings, stateSettings } from "../sdk/config/common.js";
import { address, durationMs, type Kind, list, name, optional, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";
import { policySettings } from "../sdk/policies/settings.js";
import { bracketIpv6 } from "./public-url.js";

/** `tcp://$(POD_IP):5001` of a deployment has no brackets around an IPv6 address. */
const listenAddress: Kind<string> = { label: address.label, parse: (value) => address.parse(bracketIpv6(value.trim())) };

export const nsmgrSettings = {
  ...commonSettings,
  ...stateSettings,
  ...policySettings,
  name: setting("NSM_NAME", name, "name of this manager; its segment in every path", { default: "nsmgr" }),
  listenOn: setting("NSM_LISTEN_ON", list(listenAddress), "where workloads (unix) and other nodes (tcp) reach this manager", {
    default: "unix:///var/lib/networkservicemesh/nsm.io.sock,tcp://:5001",
  }),
  registryUrl: setting("NSM_REGISTRY_URL", address, "the registry", { default: "tcp://localhost:5002" }),
  maxTokenLifetimeMs: setting("NSM_MAX_TOKEN_LIFETIME", durationMs, "how long a connection lives without a refresh", {
    default: "10m",
  }),
  dialTimeoutMs: setting("NSM_DIAL_TIMEOUT", durationMs, "how long a connection to the next hop may take to open", {
    default: "750ms",
  }),
  forwarderServiceName: setting("NSM_FORWARDER_NETWORK_SERVICE_NAME", name, "network service under which forwarders register", {
    default: "forwarder",
  }),
  endpointLifetimeMs: setting("WEFT_ENDPOINT_LIFETIME", durationMs, "longest life of an endpoint's entry without a refresh", {
    default: "1m",
  }),
  requestTimeoutMs: setting("WEFT_REQUEST_TIMEOUT", durationMs, "longest time for a request whose caller set no deadline", {
    default: "15s",
  }),
  drainTimeoutMs: setting("WEFT_DRAIN_TIMEOUT", durationMs, "how long running calls may finish after SIGTERM", {
    default: "5s",
  }),
  publicUrl: setting(
    "WEFT_PUBLIC_URL",
    optional(address),
    "URL told to other nodes; default: the first tcp address of the list",
    {
      default: "",
    },
  ),
  excludedPrefixesFile: setting("WEFT_EXCLUDED_PREFIXES_FILE", text, "YAML list of prefixes no endpoint may use; watched", {
    default: "/var/lib/networkservicemesh/config/excluded_prefixes.yaml",
  }),
} as const;

export type NsmgrConfig = Values<typeof nsmgrSettings> & {
  /** Labels that every connection and endpoint of this node gets unless it has them: nodeName, podName, clusterName. */
  readonly nodeLabels: Readonly<Record<string, string>>;
};

/** The labels that the environment gives (upstream's names, without prefix). */
export function nodeLabels(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [key, variable] of [
    ["nodeName", "NODE_NAME"],
    ["podName", "POD_NAME"],
    ["clusterName", "CLUSTER_NAME"],
  ] as const) {
    const value = env[variable];
    if (value !== undefined && value !== "") labels[key] = value;
  }
  return labels;
}
