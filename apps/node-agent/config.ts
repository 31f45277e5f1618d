/** The settings of the node agent. */
import { boolean, durationMs, list, name, optional, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { workloadSettings } from "../workload-settings.js";

const { netns: _, ...settings } = workloadSettings;

export const nodeAgentSettings = {
  ...settings,
  name: setting("NSM_NAME", name, "name of this agent in logs", { default: "agent" }),
  nodeName: setting("NODE_NAME", name, "the node whose pods are looked after"),
  clusterName: setting("CLUSTER_NAME", optional(text), "label clusterName of every connection", { default: "" }),
  annotation: setting("NSM_ANNOTATION", name, "the annotation that asks for services", { default: "networkservicemesh.io" }),
  requestTimeoutMs: setting("NSM_REQUEST_TIMEOUT", durationMs, "how long one request may take", { default: "15s" }),
  patienceMs: setting("WEFT_PATIENCE", durationMs, "a service not connected by then is told on the pod as a problem", {
    default: "10s",
  }),
  livenessCheckIntervalMs: setting("NSM_LIVENESS_CHECK_INTERVAL", durationMs, "time between pings of a connection", {
    default: "200ms",
  }),
  livenessCheckTimeoutMs: setting("NSM_LIVENESS_CHECK_TIMEOUT", durationMs, "without an answer for so long it is dead", {
    default: "1s",
  }),
  localDnsServerEnabled: setting(
    "NSM_LOCAL_DNS_SERVER_ENABLED",
    boolean,
    "names that endpoints bring resolve in pods, in both modes",
    {
      default: "true",
    },
  ),
  excludedPrefixesFile: setting(
    "WEFT_EXCLUDED_PREFIXES_FILE",
    text,
    "where the cluster's networks are written for the manager; empty = nowhere",
    { default: "" },
  ),
  excludedPrefixes: setting("NSM_EXCLUDED_PREFIXES", list(text), "further prefixes no endpoint may use", { default: "" }),
  excludedPrefixesMap: setting("NSM_CONFIG_MAP_NAME", name, "ConfigMap with further prefixes, key excluded_prefixes_input.yaml", {
    default: "excluded-prefixes-config",
  }),
  namespace: setting("NSM_CONFIG_MAP_NAMESPACE", text, "where that ConfigMap is; empty = this pod's namespace", { default: "" }),
  kubeconfig: setting("KUBECONFIG", optional(text), "outside of a cluster: how to reach its API", {
    default: "",
    flag: "--kubeconfig",
  }),
} as const;
