/** Settings of policies. Spread into the tables of components that answer calls. */
import { integer, list, name } from "../config/kinds.js";
import { setting } from "../config/table.js";
import type { AdmissionLimits } from "./admission.js";

const common = "etc/nsm/opa/common/.*.rego";

/** Far above what an honest workload asks for; an operator who knows the workloads sets less. */
export const defaultLimits: AdmissionLimits = { ratePerS: 400, burst: 2000, perTenant: 64, total: 256, quota: 10_000 };

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
  registryClientPolicies: setting(
    "NSM_REGISTRY_CLIENT_POLICIES",
    list(name),
    "what whoever registers demands of the path in the registry's answer",
    { default: `${common},etc/nsm/opa/registry/.*.rego,etc/nsm/opa/client/.*.rego` },
  ),
  monitorPolicies: setting(
    "WEFT_MONITOR_POLICIES",
    list(name),
    "policies of monitors, beyond that each sees only connections it has a part in",
    { default: "" },
  ),
  tenantRate: setting("WEFT_TENANT_RATE", integer({ min: 0 }), "new requests per second of one identity; 0 = no bound", {
    default: String(defaultLimits.ratePerS),
  }),
  tenantBurst: setting("WEFT_TENANT_BURST", integer({ min: 1 }), "new requests of one identity at once after a quiet time", {
    default: String(defaultLimits.burst),
  }),
  tenantConcurrency: setting("WEFT_TENANT_CONCURRENCY", integer({ min: 1 }), "requests of one identity under way", {
    default: String(defaultLimits.perTenant),
  }),
  tenantQuota: setting("WEFT_TENANT_QUOTA", integer({ min: 0 }), "connections of one identity; 0 = no bound", {
    default: String(defaultLimits.quota),
  }),
  maxUnderWay: setting("WEFT_MAX_UNDER_WAY", integer({ min: 1 }), "requests of all identities under way; others wait in turn", {
    default: String(defaultLimits.total),
  }),
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
  readonly registryClient: readonly string[];
  readonly monitor: readonly string[];
  readonly operators: readonly string[];
}

/** Upstream's defaults. */
export const defaultMasks: PolicyMasks = {
  server: policySettings.serverPolicies.kind.parse(policySettings.serverPolicies.default ?? ""),
  client: clientPolicySettings.clientPolicies.kind.parse(clientPolicySettings.clientPolicies.default ?? ""),
  registryServer: policySettings.registryServerPolicies.kind.parse(policySettings.registryServerPolicies.default ?? ""),
  registryClient: policySettings.registryClientPolicies.kind.parse(policySettings.registryClientPolicies.default ?? ""),
  monitor: [],
  operators: [],
};

/** The masks that settings name; what is not set is upstream's default. */
export function masksOf(values: {
  readonly serverPolicies?: readonly string[];
  readonly clientPolicies?: readonly string[];
  readonly registryServerPolicies?: readonly string[];
  readonly registryClientPolicies?: readonly string[];
  readonly monitorPolicies?: readonly string[];
  readonly operators?: readonly string[];
}): PolicyMasks {
  return {
    server: values.serverPolicies ?? defaultMasks.server,
    client: values.clientPolicies ?? defaultMasks.client,
    registryServer: values.registryServerPolicies ?? defaultMasks.registryServer,
    registryClient: values.registryClientPolicies ?? defaultMasks.registryClient,
    monitor: values.monitorPolicies ?? defaultMasks.monitor,
    operators: values.operators ?? defaultMasks.operators,
  };
}

export function limitsOf(values: {
  readonly tenantRate: number;
  readonly tenantBurst: number;
  readonly tenantConcurrency: number;
  readonly tenantQuota: number;
  readonly maxUnderWay: number;
}): AdmissionLimits {
  return {
    ratePerS: values.tenantRate,
    burst: values.tenantBurst,
    perTenant: values.tenantConcurrency,
    total: values.maxUnderWay,
    quota: values.tenantQuota,
  };
}
