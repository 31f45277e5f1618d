/** What the containers of an endpoint get (pure): environment, mounts and volumes, where they have not got them already. */
import { endpointAnnotation, ownText } from "../sdk/kubernetes/annotation.js";
import { Code, statusError } from "../sdk/status.js";
import { mountsOf, surroundings, volumesOf } from "./inject.js";
import type { Container, PatchOperation, Pod } from "./objects.js";
import type { SidecarSettings } from "./sidecar-settings.js";

/**
 * @param options.confined  the namespace forbids host paths, and no CSI driver stands in for them
 * @throws INVALID_ARGUMENT the annotation names a container that is not there; FAILED_PRECONDITION a confined namespace
 */
export function equipEndpoint(
  object: unknown,
  pod: Pod,
  settings: SidecarSettings,
  options: { readonly csi: boolean; readonly confined: boolean },
): PatchOperation[] {
  const text = ownText(pod.metadata, endpointAnnotation)?.trim() ?? "";
  if (object === undefined || text === "" || text === "false") return [];
  const containers = pod.spec?.containers ?? [];
  const chosen = text === "true" ? containers.map(({ name }) => name) : text.split(",").map((name) => name.trim());
  const unknown = chosen.find((name) => !containers.some((container) => container.name === name));
  if (unknown !== undefined) {
    const known = containers.map(({ name }) => name).join(", ");
    throw statusError(
      Code.INVALID_ARGUMENT,
      `annotation ${endpointAnnotation}: no container is called "${unknown.slice(0, 64)}"; write "true", or names of ${known}`,
    );
  }
  if (options.confined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `annotation ${endpointAnnotation}: an endpoint needs the socket of its node, and Pod Security of this namespace forbids host paths; install the CSI driver csi.networkservicemesh.io and set webhook.csi=true, or use another namespace`,
    );
  }
  const operations = containers.flatMap((container, index) =>
    chosen.includes(container.name) ? equip(container, `/spec/containers/${index}`, settings) : [],
  );
  const present = new Set(pod.spec?.volumes?.map(({ name }) => name));
  const volumes = volumesOf(settings, options.csi).filter(({ name }) => !present.has(name));
  return [...operations, ...appending("/spec/volumes", pod.spec?.volumes, volumes)];
}

function equip(container: Container, path: string, settings: SidecarSettings): PatchOperation[] {
  const set = new Set(container.env?.map(({ name }) => name));
  const mounted = new Set(container.volumeMounts?.map(({ mountPath }) => mountPath));
  // the container's own variables are last, because they may refer to ours; a name twice means the last
  const env = surroundings(settings, { NSM_NAME: "$(POD_NAME)" }).filter(({ name }) => !set.has(name));
  const mounts = mountsOf(settings).filter(({ mountPath }) => !mounted.has(mountPath));
  const first = env.map((value, index): PatchOperation => ({ op: "add", path: `${path}/env/${index}`, value }));
  return [
    ...(container.env == null ? appending(`${path}/env`, undefined, env) : first),
    ...appending(`${path}/volumeMounts`, container.volumeMounts, mounts),
  ];
}

function appending(list: string, present: readonly unknown[] | undefined, items: readonly unknown[]): PatchOperation[] {
  if (items.length === 0) return [];
  const made: PatchOperation[] = present == null ? [{ op: "add", path: list, value: [] }] : [];
  return [...made, ...items.map((value): PatchOperation => ({ op: "add", path: `${list}/-`, value }))];
}
