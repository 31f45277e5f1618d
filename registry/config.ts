/** The settings of the registry. Names are upstream's where upstream has the setting. */
import { commonSettings, stateSettings } from "../sdk/config/common.js";
import { address, durationMs, integer, list, name, oneOf, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";
import { policySettings } from "../sdk/policies/settings.js";

export const registrySettings = {
  ...commonSettings,
  ...stateSettings,
  registryServerPolicies: policySettings.registryServerPolicies,
  operators: policySettings.operators,
  tenantRate: policySettings.tenantRate,
  tenantBurst: policySettings.tenantBurst,
  tenantConcurrency: policySettings.tenantConcurrency,
  tenantQuota: policySettings.tenantQuota,
  maxUnderWay: policySettings.maxUnderWay,
  name: setting("NSM_NAME", name, "name of this registry, in logs and traces", { default: "registry" }),
  listenOn: setting("NSM_LISTEN_ON", list(address), "where managers reach this registry", { default: "tcp://:5002" }),
  store: setting(
    "WEFT_STORE",
    oneOf("lmdb", "memory", "kubernetes", "etcd"),
    "where entries are kept: lmdb survives a restart, memory does not, kubernetes (custom resources) and etcd are shared by replicas",
    { default: "lmdb" },
  ),
  kubeconfig: setting("KUBECONFIG", text, "way to the cluster with the store kubernetes; empty = as the pod's service account", {
    default: "",
  }),
  namespace: setting(
    "NSM_NAMESPACE",
    text,
    "where the store kubernetes makes objects; empty = the namespace of pod or kubeconfig",
    {
      default: "",
    },
  ),
  storeScope: setting(
    "WEFT_STORE_SCOPE",
    oneOf("cluster", "namespace"),
    "whose objects the store kubernetes reads: those of all namespaces, or only of its own (a Role is enough)",
    { default: "cluster" },
  ),
  etcdEndpoints: setting("WEFT_ETCD_ENDPOINTS", list(text), "members of the store etcd, http(s)://host:port", {
    default: "http://127.0.0.1:2379",
  }),
  etcdPrefix: setting("WEFT_ETCD_PREFIX", name, "before each key of the store etcd", { default: "/weft/registry" }),
  etcdCa: setting("WEFT_ETCD_CA", text, "file with the authority of etcd's certificates; empty = those of the system", {
    default: "",
  }),
  etcdCert: setting("WEFT_ETCD_CERT", text, "file with our certificate for etcd", { default: "" }),
  etcdKey: setting("WEFT_ETCD_KEY", text, "file with the key of WEFT_ETCD_CERT", { default: "" }),
  etcdUser: setting("WEFT_ETCD_USER", text, "user at etcd; empty = none", { default: "" }),
  etcdPasswordFile: setting("WEFT_ETCD_PASSWORD_FILE", text, "file with the password of WEFT_ETCD_USER", { default: "" }),
  leasePeriodMs: setting("NSM_EXPIRE_PERIOD", durationMs, "longest life of an endpoint's entry without a refresh", {
    default: "1m",
  }),
  maxTokenLifetimeMs: setting("NSM_MAX_TOKEN_LIFETIME", durationMs, "how long a token of this registry is valid", {
    default: "10m",
  }),
  watchBuffer: setting(
    "WEFT_WATCH_BUFFER",
    integer({ min: 1 }),
    "changes that may wait for one slow watcher before it is dropped",
    {
      default: "4096",
    },
  ),
  drainTimeoutMs: setting("WEFT_DRAIN_TIMEOUT", durationMs, "how long running calls may finish after SIGTERM", {
    default: "5s",
  }),
} as const;

export type RegistryConfig = Values<typeof registrySettings>;
