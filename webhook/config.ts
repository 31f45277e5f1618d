/** The settings of the admission webhook. Names and defaults are those of upstream's webhook where it has the setting. */
import { telemetrySettings } from "../sdk/config/common.js";
import { address, boolean, durationMs, integer, type Kind, list, map, name, oneOf, optional, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";
import type { SidecarIdentity, SidecarSettings } from "./sidecar-settings.js";

/** `K=V,K=V`; a value may contain "=". */
const assignments: Kind<Readonly<Record<string, string>>> = {
  label: "KEY=VALUE,…",
  parse(value) {
    const pairs = list(text)
      .parse(value)
      .map((pair) => {
        const equals = pair.indexOf("=");
        if (equals < 1) throw new Error(`"${pair}" is not KEY=VALUE`);
        return [pair.slice(0, equals), pair.slice(equals + 1)] as const;
      });
    return Object.fromEntries(pairs);
  },
};

export const webhookSettings = {
  ...telemetrySettings,
  name: setting("NSM_NAME", name, "name of the MutatingWebhookConfiguration; NAME-certificate is the Secret", {
    default: "weft-webhook",
  }),
  namespace: setting("NSM_NAMESPACE", name, "namespace of the webhook's Service and Secret", { default: "default" }),
  serviceName: setting("NSM_SERVICE_NAME", name, "the Service by which the apiserver calls", { default: "weft-webhook" }),
  listenOn: setting("NSM_LISTEN_ON", address, "where HTTPS is served", { default: ":8443" }),
  annotation: setting("NSM_ANNOTATION", name, "the annotation that asks for services", { default: "networkservicemesh.io" }),
  labels: setting("NSM_LABELS", map, "labels for every pod with a client", { default: "" }),
  image: setting("NSM_CONTAINER_IMAGES", name, "image of the client"),
  imagePullPolicy: setting("WEFT_IMAGE_PULL_POLICY", oneOf("IfNotPresent", "Always", "Never"), "of that image", {
    default: "IfNotPresent",
  }),
  envs: setting("NSM_ENVS", assignments, "further environment of the client", { default: "" }),
  limitsMemory: setting("NSM_SIDECAR_LIMITS_MEMORY", name, "memory limit of the client", { default: "128Mi" }),
  limitsCpu: setting("NSM_SIDECAR_LIMITS_CPU", text, "CPU limit of the client; empty: none", { default: "" }),
  requestsMemory: setting("NSM_SIDECAR_REQUESTS_MEMORY", name, "memory request of the client", { default: "64Mi" }),
  requestsCpu: setting("NSM_SIDECAR_REQUESTS_CPU", name, "CPU request of the client", { default: "10m" }),
  mode: setting(
    "WEFT_MODE",
    oneOf("sidecar", "node"),
    "who connects a pod that does not say: a container in it, or its node's agent",
    {
      default: "sidecar",
    },
  ),
  sidecars: setting(
    "WEFT_SIDECARS",
    oneOf("auto", "native", "classic"),
    "native: an init container that stays (Kubernetes ≥ 1.29)",
    {
      default: "auto",
    },
  ),
  csi: setting("WEFT_CSI", boolean, "CSI drivers give the sockets to pods in namespaces that forbid host paths", {
    default: "false",
  }),
  healthPort: setting(
    "WEFT_CLIENT_HEALTH_PORT",
    integer({ min: 1, max: 65_535 }),
    "port of the pod where the client answers probes",
    {
      default: "15390",
    },
  ),
  startTimeoutMs: setting("WEFT_CLIENT_START_TIMEOUT", durationMs, "a client not connected by then is started again", {
    default: "2m",
  }),
  socketFolder: setting("WEFT_SOCKET_FOLDER", name, "folder of the node with the manager's socket", {
    default: "/var/lib/networkservicemesh",
  }),
  clientIdentity: setting("WEFT_CLIENT_IDENTITY", oneOf("ca", "spire", "insecure"), "how a client shows who it is", {
    default: "insecure",
  }),
  caUrl: setting("WEFT_CA_URL", optional(address), "the authority, for clients", { default: "" }),
  caRoot: setting("WEFT_CA_ROOT", optional(text), "SHA-256 of its root, for clients", { default: "" }),
  spireSocketFolder: setting("WEFT_SPIRE_SOCKET_FOLDER", name, "folder of the node with the agent's socket", {
    default: "/run/spire/sockets",
  }),
  certNames: setting("WEFT_CERT_NAMES", list(name), "further names of the own certificate, for who calls by a URL", {
    default: "",
  }),
  certFile: setting("NSM_CERT_FILE_PATH", optional(text), "own certificate, PEM; default: one is made and renewed", {
    default: "",
  }),
  keyFile: setting("NSM_KEY_FILE_PATH", optional(text), "its key, PEM", { default: "" }),
  caBundleFile: setting("NSM_CA_BUNDLE_FILE_PATH", optional(text), "authority to put into the webhook configuration, PEM", {
    default: "",
  }),
  kubeconfig: setting("KUBECONFIG", optional(text), "outside of a cluster: how to reach its API", {
    default: "",
    flag: "--kubeconfig",
  }),
} as const;

export type WebhookConfig = Values<typeof webhookSettings>;

/** @throws Error with the remedy, when the settings of the client's identity are not enough */
export function sidecarOf(config: WebhookConfig): SidecarSettings {
  return {
    image: config.image,
    imagePullPolicy: config.imagePullPolicy,
    resources: {
      limits: { memory: config.limitsMemory, ...(config.limitsCpu === "" ? {} : { cpu: config.limitsCpu }) },
      requests: { memory: config.requestsMemory, cpu: config.requestsCpu },
    },
    identity: identityOf(config),
    socketFolder: config.socketFolder,
    spireSocketFolder: config.spireSocketFolder,
    healthPort: config.healthPort,
    envs: config.envs,
    labels: config.labels,
    startSeconds: Math.max(1, Math.ceil(config.startTimeoutMs / 1000)),
  };
}

function identityOf({ clientIdentity, caUrl, caRoot }: WebhookConfig): SidecarIdentity {
  if (clientIdentity !== "ca") return { kind: clientIdentity };
  if (caUrl === undefined || caRoot === undefined) throw new Error("WEFT_CLIENT_IDENTITY=ca needs WEFT_CA_URL and WEFT_CA_ROOT");
  return { kind: "ca", caUrl, caRoot };
}
