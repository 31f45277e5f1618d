/** What a pod gets so that a container in it makes its connections (pure): containers, volumes, labels. */
import type { Wanted } from "../sdk/kubernetes/annotation.js";
import type { PodSpec } from "./objects.js";
import type { Resources, SidecarSettings } from "./sidecar-settings.js";

export const containerName = "weft-client";
export const initContainerName = "weft-client-init";
/** Containers by which a pod shows that it has been given a client: ours, and those of upstream's webhook. */
const clients = [containerName, initContainerName, "cmd-nsc", "cmd-nsc-init", "nsc", "nsc-init"];

const socketVolume = "nsm-socket";
const identityVolume = "weft-identity";
const spireVolume = "spire-agent-socket";

export interface Injection {
  readonly initContainers: readonly object[];
  readonly containers: readonly object[];
  readonly volumes: readonly { readonly name: string }[];
}

/** A second client would ask for the same connections again. */
export function hasClient(spec: PodSpec | undefined): boolean {
  return [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].some(({ name }) => clients.includes(name));
}

/**
 * @param options.native  the cluster restarts init containers with restartPolicy Always (Kubernetes ≥ 1.29): one container
 *   then starts before the workload, stays as long as it, and does not keep a Job from ending
 * @param options.csi  sockets come by CSI volumes, because the namespace forbids host paths
 */
export function injection(wanted: Wanted, settings: SidecarSettings, options: { native: boolean; csi: boolean }): Injection {
  const volumes = volumesOf(settings, options.csi);
  const base = {
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    securityContext,
    volumeMounts: mountsOf(settings),
  };
  const resources = withTokens(settings.resources, wanted);
  const env = envOf(wanted, settings);
  const ready = { httpGet: { path: "/readyz", port: settings.healthPort } };
  const client = { name: containerName, ...base, env };
  if (options.native) {
    const startupProbe = { ...ready, periodSeconds: 1, failureThreshold: settings.startSeconds, timeoutSeconds: 2 };
    return { initContainers: [{ ...client, resources, restartPolicy: "Always", startupProbe }], containers: [], volumes };
  }
  const init = { name: initContainerName, ...base, env: [...env, { name: "WEFT_INIT", value: "true" }], resources };
  return {
    initContainers: [init],
    containers: [{ ...client, resources: settings.resources, readinessProbe: { ...ready, periodSeconds: 5, timeoutSeconds: 2 } }],
    volumes,
  };
}

/** What Pod Security `restricted` asks for, in every namespace: the client needs no more. */
const securityContext = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  seccompProfile: { type: "RuntimeDefault" },
} as const;

function envOf(wanted: Wanted, settings: SidecarSettings): object[] {
  return surroundings(settings, {
    // pods of two namespaces may have one name, and their connections must not
    NSM_NAME: "$(POD_NAME).$(POD_NAMESPACE)",
    NSM_NETWORK_SERVICES: escapeReferences(wanted.text),
    WEFT_HEALTH_LISTEN_ON: `:${settings.healthPort}`,
    ...settings.envs,
  });
}

/** What every program of the SDK wants to know of where it runs. */
export function surroundings(settings: SidecarSettings, more: Readonly<Record<string, string>>): { readonly name: string }[] {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const own = { NSM_CONNECT_TO: `unix://${settings.socketFolder}/nsm.io.sock`, ...identityEnv(settings), ...more };
  return [
    field("POD_NAME", "metadata.name"),
    field("POD_NAMESPACE", "metadata.namespace"),
    field("NODE_NAME", "spec.nodeName"),
    ...Object.entries(own).map(([name, value]) => ({ name, value })),
  ];
}

/** Kubernetes replaces $(NAME) in values; a label may have that text. */
function escapeReferences(text: string): string {
  return text.replaceAll("$(", "$$(");
}

function identityEnv({ identity, spireSocketFolder }: SidecarSettings): Record<string, string> {
  if (identity.kind === "insecure") return { WEFT_INSECURE: "true" };
  if (identity.kind === "spire") return { SPIFFE_ENDPOINT_SOCKET: `unix://${spireSocketFolder}/agent.sock` };
  return { WEFT_CA_URL: identity.caUrl, WEFT_CA_ROOT: identity.caRoot, WEFT_JOIN_TOKEN_FILE: "/var/run/secrets/weft/token" };
}

export function mountsOf({ identity, socketFolder, spireSocketFolder }: SidecarSettings): { name: string; mountPath: string }[] {
  const socket = { name: socketVolume, mountPath: socketFolder, ...{ readOnly: true } };
  const readOnly = { readOnly: true };
  if (identity.kind === "spire") return [socket, { name: spireVolume, mountPath: spireSocketFolder, ...readOnly }];
  if (identity.kind === "ca") return [socket, { name: identityVolume, mountPath: "/var/run/secrets/weft", ...readOnly }];
  return [socket];
}

export function volumesOf({ identity, socketFolder, spireSocketFolder }: SidecarSettings, csi: boolean): { name: string }[] {
  const folder = (name: string, path: string, driver: string): { name: string } =>
    csi ? { name, ...{ csi: { driver, readOnly: true } } } : { name, ...{ hostPath: { path, type: "Directory" } } };
  const socket = folder(socketVolume, socketFolder, "csi.networkservicemesh.io");
  if (identity.kind === "spire") return [socket, folder(spireVolume, spireSocketFolder, "csi.spiffe.io")];
  if (identity.kind === "ca") {
    const token = { serviceAccountToken: { path: "token", audience: "weft", expirationSeconds: 3600 } };
    return [socket, { name: identityVolume, ...{ projected: { sources: [token] } } }];
  }
  return [socket];
}

/** One device of the plugin for each URL with `sriovToken=DOMAIN/CAPABILITY`. Source: NSM's webhook. */
function withTokens(resources: Resources, { services }: Wanted): Resources {
  const tokens = new Map<string, number>();
  for (const { labels } of services) {
    const token = labels["sriovToken"];
    if (token !== undefined) tokens.set(token, (tokens.get(token) ?? 0) + 1);
  }
  if (tokens.size === 0) return resources;
  const limits = Object.fromEntries([...tokens].map(([token, count]) => [token, String(count)]));
  return { ...resources, limits: { ...resources.limits, ...limits } };
}
