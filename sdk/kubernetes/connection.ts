/**
 * How to reach the API server, and as whom: from a pod by its service account, or by a kubeconfig.
 *
 * `@kubernetes/client-node` reads the kubeconfigs that need more than a certificate or a token (plugins, proxies, merged
 * files). It is loaded only then: its import costs 70 MB of memory and a second of time, which a part that runs on each
 * node must not pay.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { parse } from "yaml";
import { Code, isStatusError, statusError } from "../status.js";

export interface ApiConnection {
  /** For texts: where this comes from. */
  readonly origin: string;
  /** https://HOST:PORT, perhaps with a path. */
  readonly server: URL;
  /** Where objects of the caller's own live. */
  readonly namespace: string;
  /** What a request needs besides its address; asked before each one, because tokens and certificates rotate. */
  options(): Promise<Pick<RequestOptions, "ca" | "cert" | "key" | "headers" | "agent" | "servername" | "rejectUnauthorized">>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Kubernetes documentation, "Accessing the Kubernetes API from a Pod". */
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Finds the way to the API server as kubectl does: an explicit kubeconfig, $KUBECONFIG, the pod's service account,
 * ~/.kube/config.
 * @throws FAILED_PRECONDITION when there is none, or it cannot be read
 */
export async function findApiConnection(options: {
  readonly env: Environment;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}): Promise<ApiConnection> {
  const { env, context } = options;
  const explicit = options.kubeconfig || env["KUBECONFIG"];
  if (explicit) return await kubeconfigConnection(explicit, context, env);
  const pod = podConnection(env);
  if (pod !== undefined && context === undefined) return pod;
  const home = join(env["HOME"] ?? homedir(), ".kube", "config");
  try {
    return await kubeconfigConnection(home, context, env);
  } catch (error) {
    if (!isStatusError(error) || (error.cause as NodeJS.ErrnoException | undefined)?.code !== "ENOENT") throw error;
    throw statusError(
      Code.FAILED_PRECONDITION,
      `there is no way to a Kubernetes API server: this is no pod with a service account, and ${home} does not exist; ` +
        "set KUBECONFIG or --kubeconfig",
      error,
    );
  }
}

/** As the service account of the pod this process runs in; undefined outside of one. */
export function podConnection(env: Environment, dir = serviceAccountDir): ApiConnection | undefined {
  const host = env["KUBERNETES_SERVICE_HOST"];
  if (!host) return undefined;
  const port = env["KUBERNETES_SERVICE_PORT"] || "443";
  const file = (name: string): string => join(dir, name);
  let namespace = "default";
  try {
    namespace = readFileSync(file("namespace"), "utf8").trim() || namespace;
  } catch {
    if (env["POD_NAMESPACE"]) namespace = env["POD_NAMESPACE"];
  }
  return {
    origin: "the pod's service account",
    server: new URL(`https://${host.includes(":") ? `[${host}]` : host}:${port}`),
    namespace,
    async options() {
      // the kubelet replaces both files while we run
      const [ca, token] = await Promise.all([readFile(file("ca.crt")), readFile(file("token"), "utf8")]).catch((error) => {
        throw unusable(dir, "the service account of this pod", "is automountServiceAccountToken false?", error);
      });
      return { ca, headers: { authorization: `Bearer ${token.trim()}` } };
    },
  };
}

interface Kubeconfig {
  readonly "current-context"?: string;
  readonly clusters?: readonly { name: string; cluster?: Record<string, unknown> }[];
  readonly users?: readonly { name: string; user?: Record<string, unknown> }[];
  readonly contexts?: readonly { name: string; context?: { cluster?: string; user?: string; namespace?: string } }[];
}

async function kubeconfigConnection(path: string, wanted: string | undefined, env: Environment): Promise<ApiConnection> {
  const paths = path.split(delimiter).filter((one) => one !== "");
  try {
    const only = paths.length === 1 ? paths[0] : undefined;
    if (only !== undefined) {
      const config = (parse(await readFile(only, "utf8")) ?? {}) as Kubeconfig;
      const plain = plainConnection(config, only, wanted);
      if (plain !== undefined) return plain;
    }
    return await byClientNode(paths, wanted, env);
  } catch (error) {
    if (isStatusError(error)) throw error;
    throw unusable(path, "the kubeconfig", "check the file, or name another by KUBECONFIG", error);
  }
}

/** A context that needs no more than an address, certificates and a token; undefined for any other. */
function plainConnection(config: Kubeconfig, path: string, wanted: string | undefined): ApiConnection | undefined {
  const name = wanted ?? config["current-context"] ?? "";
  const context = config.contexts?.find((one) => one.name === name)?.context;
  if (context === undefined) {
    const known = config.contexts?.map((one) => one.name).join(", ") || "none";
    throw unusable(path, "the kubeconfig", `it has no context "${name}" (it has: ${known})`);
  }
  const cluster = config.clusters?.find((one) => one.name === context.cluster)?.cluster;
  const user = config.users?.find((one) => one.name === context.user)?.user ?? {};
  if (cluster === undefined || typeof cluster["server"] !== "string") {
    throw unusable(path, "the kubeconfig", `its context "${name}" names the cluster "${context.cluster}", which has no server`);
  }
  if (["exec", "auth-provider", "impersonate", "as"].some((key) => key in user) || "proxy-url" in cluster) return undefined;
  const skipVerify = cluster["insecure-skip-tls-verify"] === true;
  const servername = textOf(cluster["tls-server-name"]);
  return {
    origin: `kubeconfig ${path}, context ${name}`,
    server: new URL(cluster["server"]),
    namespace: context.namespace || "default",
    async options() {
      const [ca, cert, key] = await Promise.all([
        content(cluster, "certificate-authority", path),
        content(user, "client-certificate", path),
        content(user, "client-key", path),
      ]);
      const authorization = await authorizationOf(user, path);
      return {
        ...(ca && { ca }),
        ...(cert && { cert }),
        ...(key && { key }),
        ...(authorization && { headers: { authorization } }),
        ...(servername && { servername }),
        ...(skipVerify && { rejectUnauthorized: false }),
      };
    },
  };
}

/** What `KEY-data` holds in base64, or the file that `KEY` names, relative to the kubeconfig. */
async function content(from: Record<string, unknown>, key: string, path: string): Promise<Buffer | undefined> {
  const data = textOf(from[`${key}-data`]);
  if (data !== undefined) return Buffer.from(data, "base64");
  const file = textOf(from[key]);
  return file === undefined ? undefined : await readFile(resolveBeside(path, file));
}

async function authorizationOf(user: Record<string, unknown>, path: string): Promise<string | undefined> {
  const file = textOf(user["tokenFile"]);
  if (file !== undefined) return `Bearer ${(await readFile(resolveBeside(path, file), "utf8")).trim()}`;
  const token = textOf(user["token"]);
  if (token !== undefined) return `Bearer ${token}`;
  const name = textOf(user["username"]);
  if (name === undefined) return undefined;
  return `Basic ${Buffer.from(`${name}:${textOf(user["password"]) ?? ""}`).toString("base64")}`;
}

async function byClientNode(paths: readonly string[], wanted: string | undefined, env: Environment): Promise<ApiConnection> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  // it merges several files only when it finds them by itself
  const first = paths[0] ?? "";
  if (paths.length === 1) config.loadFromFile(first);
  else if (env["KUBECONFIG"] === paths.join(delimiter)) config.loadFromDefault();
  else throw new Error("several kubeconfig files are merged only when $KUBECONFIG names them");
  if (wanted !== undefined) config.setCurrentContext(wanted);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`its context "${config.getCurrentContext()}" names no cluster`);
  return {
    origin: `kubeconfig ${paths.join(delimiter)}, context ${config.getCurrentContext()}`,
    server: new URL(cluster.server),
    namespace: config.getContextObject(config.getCurrentContext())?.namespace || "default",
    async options() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const { agent, headers, auth } = options;
      const basic = auth ? { authorization: `Basic ${Buffer.from(auth).toString("base64")}` } : {};
      return { agent, headers: { ...(headers as Record<string, string> | undefined), ...basic } };
    },
  };
}

function resolveBeside(path: string, file: string): string {
  return isAbsolute(file) ? file : join(dirname(path), file);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function unusable(path: string, what: string, remedy: string, cause?: unknown): Error {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return statusError(Code.FAILED_PRECONDITION, `${what} ${path} cannot be used${why}; ${remedy}`, cause);
}
