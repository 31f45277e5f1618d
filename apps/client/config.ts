/** The settings of the client sidecar. Names and defaults are those of upstream's nsc and nsc-init. */
import { address, boolean, durationMs, type Kind, map, name, optional, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { parseAwarenessGroups, parseServiceUrls, type ServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { workloadSettings } from "../workload-settings.js";

export const clientSettings = {
  ...workloadSettings,
  name: setting("NSM_NAME", name, "name of this workload; its connections are NAME-0, NAME-1, …", { default: "nsc" }),
  networkServices: setting(
    "NSM_NETWORK_SERVICES",
    serviceUrls(),
    "what to connect to, as kernel://service/interface?label=value",
  ),
  awarenessGroups: setting("NSM_AWARENESS_GROUPS", awarenessGroups(), "[url,url],[url]: services of a group may overlap", {
    default: "",
  }),
  labels: setting("NSM_LABELS", map, "labels of every connection; those of its URL win", { default: "" }),
  init: setting("WEFT_INIT", boolean, "exit when everything is connected and leave the connections to the sidecar", {
    default: "false",
  }),
  dialTimeoutMs: setting("NSM_DIAL_TIMEOUT", durationMs, "how long the node manager may take to accept a connection", {
    default: "5s",
  }),
  requestTimeoutMs: setting("NSM_REQUEST_TIMEOUT", durationMs, "how long one request may take", { default: "15s" }),
  livenessCheckEnabled: setting("NSM_LIVENESS_CHECK_ENABLED", boolean, "ping the other end to see that packets pass", {
    default: "true",
  }),
  livenessCheckIntervalMs: setting("NSM_LIVENESS_CHECK_INTERVAL", durationMs, "time between pings", { default: "200ms" }),
  livenessCheckTimeoutMs: setting("NSM_LIVENESS_CHECK_TIMEOUT", durationMs, "without an answer for so long it is dead", {
    default: "1s",
  }),
  listenOn: setting("NSM_LISTEN_ON", optional(address), "where health and connections can be asked for; default: nowhere", {
    default: "",
  }),
  mechanism: setting("NSM_MECHANISM", text, "accepted for upstream's manifests; the URL says it", { default: "kernel" }),
  localDnsServerEnabled: setting("NSM_LOCAL_DNS_SERVER_ENABLED", boolean, "names that endpoints bring resolve here", {
    default: "true",
  }),
  resolvConf: setting(
    "WEFT_RESOLV_CONF",
    text,
    "the resolv.conf of the workload, which is only read; default: that of `ip netns` for WEFT_NETNS, else /etc/resolv.conf",
    { default: "" },
  ),
  localDnsServerAddress: setting("NSM_LOCAL_DNS_SERVER_ADDRESS", text, "accepted for upstream's manifests; not needed", {
    default: "127.0.0.1:53",
  }),
} as const;

function serviceUrls(): Kind<readonly ServiceUrl[]> {
  return { label: "URL,…", parse: (value) => parseServiceUrls(value) };
}

function awarenessGroups(): Kind<readonly (readonly ServiceUrl[])[]> {
  return { label: "[URL,…],…", parse: (value) => parseAwarenessGroups(value) };
}
