/**
 * The authority in a Kubernetes cluster: its root lives in a Secret, its certificate and fingerprint in a ConfigMap for all
 * to read, and a pod shows who it is by the service account token that the kubelet gives it (audience `weft`).
 */
import type { Authority } from "../../sdk/identity/authority.js";
import { createAuthority, restoreAuthority } from "../../sdk/identity/authority.js";
import { tenYearsMs } from "../../sdk/identity/authority-store.js";
import { certificateNames } from "../../sdk/identity/certificate.js";
import { fingerprintOf } from "../../sdk/identity/join-token.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import { isApiError, orAbsent } from "../../sdk/kubernetes/api-error.js";
import { configMaps, pathOf, secrets } from "../../sdk/kubernetes/resource.js";
import { Code, statusError } from "../../sdk/status.js";

/** What a token must be for, so that one for another server is of no use here. */
export const tokenAudience = "weft";

interface Place {
  readonly namespace: string;
  /** The Secret is NAME-root, the ConfigMap NAME. */
  readonly name: string;
}

/**
 * The authority of the Secret; a new one where there is none.
 * @throws FAILED_PRECONDITION the Secret holds that of another trust domain, or something else; as the API says
 */
export async function openAuthorityInSecret(api: KubernetesApi, place: Place, trustDomain: string): Promise<Authority> {
  const { namespace } = place;
  const name = `${place.name}-root`;
  const path = pathOf(secrets, { namespace, name });
  const kept = await orAbsent(api.call<{ data?: Record<string, string> }>({ path }));
  if (kept === undefined) {
    const made = await createAuthority(trustDomain, { lifetimeMs: tenYearsMs });
    const data = { "root.pem": base64(made.certificate.toString()), "root.key": base64(made.privateKeyPem) };
    const body = { apiVersion: "v1", kind: "Secret", metadata: { name, namespace, labels: partOf }, type: "Opaque", data };
    try {
      await api.call({ method: "POST", path: pathOf(secrets, { namespace }), body });
      return made;
    } catch (error) {
      if (!isApiError(error) || error.reason !== "AlreadyExists") throw error;
      return openAuthorityInSecret(api, place, trustDomain); // another replica was first
    }
  }
  try {
    const text = (key: string): string => Buffer.from(kept.data?.[key] ?? "", "base64").toString("utf8");
    const restored = await restoreAuthority(trustDomain, text("root.pem"), text("root.key"));
    const [uri] = certificateNames(restored.certificate).uris;
    if (uri === `spiffe://${trustDomain}`) return restored;
    throw new Error(`it is that of ${uri}, not of ${trustDomain}`);
  } catch (error) {
    const remedy = "set the trust domain it is of, or delete the Secret (every identity is then given anew)";
    throw statusError(
      Code.FAILED_PRECONDITION,
      `the authority in Secret ${namespace}/${name}: ${(error as Error).message}; ${remedy}`,
      error,
    );
  }
}

/** Tells everybody the root: pods pin it by `root`, people look at `root.pem`. */
export async function publishRoot(api: KubernetesApi, { namespace, name }: Place, authority: Authority): Promise<void> {
  const data = {
    root: fingerprintOf(authority.certificate),
    "root.pem": authority.certificate.toString(),
    trustDomain: authority.trustDomain,
  };
  const path = pathOf(configMaps, { namespace, name });
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace, labels: partOf }, data };
  if ((await orAbsent(api.call({ path }))) === undefined) {
    try {
      await api.call({ method: "POST", path: pathOf(configMaps, { namespace }), body });
      return;
    } catch (error) {
      if (!isApiError(error) || error.reason !== "AlreadyExists") throw error;
    }
  }
  await api.call({ method: "PATCH", path, body: { data } });
}

interface TokenReview {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly user?: { readonly username?: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
  };
}

/**
 * Asks the API server whose token it is.
 * @returns for `attest` of the authority: the SPIFFE ID that was wanted, if the token proves it, else the finest it proves
 */
export function attestByTokenReview(api: KubernetesApi, trustDomain: string): (token: string, wanted: string) => Promise<string> {
  return async (token, wanted) => {
    const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token, audiences: [tokenAudience] } };
    const { status } = await api.call<TokenReview>({ method: "POST", path: "/apis/authentication.k8s.io/v1/tokenreviews", body });
    if (status?.authenticated !== true || status.audiences?.includes(tokenAudience) !== true) {
      throw statusError(
        Code.UNAUTHENTICATED,
        `the API server does not know the token, or it is not for the audience "${tokenAudience}"`,
      );
    }
    const proved = idsOf(trustDomain, status.user?.username ?? "", status.user?.extra ?? {});
    if (wanted !== "" && !proved.includes(wanted)) {
      throw statusError(
        Code.UNAUTHENTICATED,
        `the token of ${status.user?.username} does not prove ${wanted}; it proves ${proved.join(", ")}`,
      );
    }
    return wanted === "" ? (proved[0] ?? "") : wanted;
  };
}

/**
 * What a token proves, the finest first: its pod (as upstream names workloads), the service account on that node, the
 * service account.
 */
export function idsOf(trustDomain: string, username: string, extra: Readonly<Record<string, readonly string[]>>): string[] {
  const found = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username);
  if (found === null) throw statusError(Code.UNAUTHENTICATED, `${username} is no service account`);
  const namespace = `spiffe://${trustDomain}/ns/${found[1]}`;
  const account = `${namespace}/sa/${found[2]}`;
  const one = (name: string): string | undefined => extra[`authentication.kubernetes.io/${name}`]?.[0];
  const pod = one("pod-name");
  const node = one("node-name");
  return [
    ...(pod === undefined ? [] : [`${namespace}/pod/${pod}`]),
    ...(node === undefined ? [] : [`${account}/node/${node}`]),
    account,
  ];
}

const partOf = { "app.kubernetes.io/part-of": "weft" };

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
