/** Settings of policies. Spread into the tables of components that answer calls. */
import { list, name } from "../config/kinds.js";
import { setting } from "../config/table.js";

const common = "etc/nsm/opa/common/.*.rego";

export const policySettings = {
  serverPolicies: setting(
    "WEFT_SERVER_POLICIES",
    list(name),
    "policies of Request and Close: regular expressions on their files",
    {
      default: `${common},etc/nsm/opa/server/.*.rego`,
    },
  ),
  registryServerPolicies: setting("NSM_REGISTRY_SERVER_POLICIES", list(name), "policies of Register, Unregister and Find", {
    default: `${common},etc/nsm/opa/registry/.*.rego,etc/nsm/opa/server/.*.rego`,
  }),
  monitorPolicies: setting(
    "WEFT_MONITOR_POLICIES",
    list(name),
    "policies of monitors, beyond that each sees only connections it has a part in",
    { default: "" },
  ),
  operators: setting("WEFT_OPERATORS", list(name), "SPIFFE IDs that may see and inspect everything; a/* = all below a", {
    default: "",
  }),
} as const;

export const clientPolicySettings = {
  clientPolicies: setting("WEFT_CLIENT_POLICIES", list(name), "what a client demands of the path in an answer", {
    default: `${common},etc/nsm/opa/client/.*.rego`,
  }),
} as const;

/** Masks of each place; none = nothing is asked there. */
export interface PolicyMasks {
  readonly server: readonly string[];
  readonly client: readonly string[];
  readonly registryServer: readonly string[];
  readonly monitor: readonly string[];
  readonly operators: readonly string[];
}

/** Upstream's defaults. */
export const defaultMasks: PolicyMasks = {
  server: policySettings.serverPolicies.kind.parse(policySettings.serverPolicies.default ?? ""),
  client: clientPolicySettings.clientPolicies.kind.parse(clientPolicySettings.clientPolicies.default ?? ""),
  registryServer: policySettings.registryServerPolicies.kind.parse(policySettings.registryServerPolicies.default ?? ""),
  monitor: [],
  operators: [],
};

/** The masks that settings name; what is not set is upstream's default. */
export function masksOf(values: {
  readonly serverPolicies?: readonly string[];
  readonly clientPolicies?: readonly string[];
  readonly registryServerPolicies?: readonly string[];
  readonly monitorPolicies?: readonly string[];
  readonly operators?: readonly string[];
}): PolicyMasks {
  return {
    server: values.serverPolicies ?? defaultMasks.server,
    client: values.clientPolicies ?? defaultMasks.client,
    registryServer: values.registryServerPolicies ?? defaultMasks.registryServer,
    monitor: values.monitorPolicies ?? defaultMasks.monitor,
    operators: values.operators ?? defaultMasks.operators,
  };
}
