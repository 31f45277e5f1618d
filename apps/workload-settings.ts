/** Settings that several workloads have, with upstream's names. Spread into the workload's own table. */
import { Payload } from "../sdk/api.js";
import { commonSettings } from "../sdk/config/common.js";
import { address, boolean, durationMs, map, oneOf, optional, text } from "../sdk/config/kinds.js";
import { setting } from "../sdk/config/table.js";
import { policySettings } from "../sdk/policies/settings.js";

export const workloadSettings = {
  ...commonSettings,
  operators: policySettings.operators,
  connectTo: setting("NSM_CONNECT_TO", address, "the node manager", {
    default: "unix:///var/lib/networkservicemesh/nsm.io.sock",
  }),
  maxTokenLifetimeMs: setting("NSM_MAX_TOKEN_LIFETIME", durationMs, "how long a connection lives without a refresh", {
    default: "10m",
  }),
  netns: setting("WEFT_NETNS", optional(text), "network namespace of the interfaces, by name or URL; default: our own", {
    default: "",
  }),
} as const;

/** For workloads that are found in the registry. */
export const endpointSettings = {
  serverPolicies: policySettings.serverPolicies,
  monitorPolicies: policySettings.monitorPolicies,
  listenOn: setting("NSM_LISTEN_ON", optional(address), "where to listen; default: a socket in a folder of its own", {
    default: "",
  }),
  payload: setting("NSM_PAYLOAD", oneOf(Payload.ETHERNET, Payload.IP), "what the interfaces carry", { default: "ETHERNET" }),
  labels: setting("NSM_LABELS", map, "labels by which services select this endpoint", { default: "" }),
  registerService: setting("NSM_REGISTER_SERVICE", boolean, "enter the services into the registry where they are missing", {
    default: "true",
  }),
  unregisterItself: setting("NSM_UNREGISTER_ITSELF", boolean, "leave the registry at the end, not when the lease ends", {
    default: "false",
  }),
  leaveTimeoutMs: setting(
    "WEFT_LEAVE_TIMEOUT",
    durationMs,
    "with NSM_UNREGISTER_ITSELF: how long it serves on at the end, until its clients have another endpoint; less than the pod's grace",
    { default: "20s" },
  ),
  registryClientPolicies: policySettings.registryClientPolicies,
} as const;
