/**
 * A real kube-apiserver with its etcd on loopback, as whoever runs the test: custom resources, webhooks, RBAC, watches,
 * dry runs; no nodes. Ready in about ten seconds. All ends with the test's process, however that ends.
 */
import { spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createKubernetesApi, type KubernetesApi } from "../../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../../sdk/kubernetes/connection.js";
import { type EtcdMember, etcdMembers } from "./etcd.js";
import { lacking, program } from "./programs.js";
import { freePorts, type Server, startServer } from "./server.js";

/** Why there can be no API server here; false = there can. For the `skip` of a test. */
export const noApiServer = (): string | false => lacking("kube-apiserver", "etcd");

export interface ApiServer {
  /** https://127.0.0.1:PORT */
  readonly url: string;
  readonly port: number;
  /** Holds logs, certificates and kubeconfigs. */
  readonly dir: string;
  /** The certificate that the server shows, as PEM: trust it. */
  readonly ca: string;
  /** Of a member of system:masters. */
  readonly kubeconfig: string;
  /** As an administrator. */
  readonly api: KubernetesApi;
  readonly etcd: EtcdMember;
  /** A kubeconfig for somebody who has no rights but what RBAC gives to that user. The name must be in `users`. */
  kubeconfigOf(user: string): string;
  /** A kubeconfig like the administrator's for another address (a proxy that ends TLS with another certificate). */
  kubeconfigAt(url: string, ca?: string): string;
  /** Runs kubectl as an administrator; resolves with its standard output. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** Kills the server, leaves etcd: an outage. */
  stopApi(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again at the same port. */
  startApi(): Promise<void>;
  log(): string;
  stop(): Promise<void>;
}

export interface ApiServerOptions {
  /** Further users that authenticate, without rights. */
  readonly users?: readonly string[];
  /** Groups of users; default none. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** Where it can be reached besides loopback. */
  readonly address?: string;
  /** Further flags, without the dashes; undefined takes one away. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), "wt-k8s-"));
  const tokens = new Map(["admin", ...(options.users ?? [])].map((user) => [user, randomBytes(16).toString("hex")]));
  const [etcd] = await etcdMembers(1, dir);
  const [port] = await freePorts(1);
  if (etcd === undefined || port === undefined) throw new Error("no etcd or no port");
  const url = `https://${options.address ?? "127.0.0.1"}:${port}`;
  prepare(dir, tokens, options.groups ?? {});
  let server: Server | undefined;

  const flags = { ...flagsOf(dir, port, options.address ?? "127.0.0.1", etcd.url), ...options.flags };
  async function startApi(): Promise<void> {
    const args = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}=${value}`]));
    server = startServer("kube-apiserver", [program("kube-apiserver"), ...args]);
    await server.until("ready", async () => {
      const path = write("admin", url);
      const probe = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig: path }));
      try {
        const answer = await probe.open({ path: "/readyz", timeoutMs: 2_000 });
        answer.resume();
        return true;
      } finally {
        probe.close();
      }
    });
  }

  function write(user: string, at: string, ca = readFileSync(join(dir, "apiserver.crt"), "utf8")): string {
    const path = join(dir, `${user}-${new URL(at).port}.kubeconfig`);
    writeFileSync(path, kubeconfigText(at, ca, tokens.get(user) ?? ""), { mode: 0o600 });
    return path;
  }

  try {
    await etcd.start();
    await startApi();
    const kubeconfig = write("admin", url);
    const api = createKubernetesApi(await findApiConnection({ env: {}, kubeconfig }));
    return {
      url,
      port,
      dir,
      ca: readFileSync(join(dir, "apiserver.crt"), "utf8"),
      kubeconfig,
      api,
      etcd,
      kubeconfigOf: (user) => write(user, url),
      kubeconfigAt: (at, ca) => write("admin", at, ca),
      kubectl: (args, input) => runKubectl(kubeconfig, args, input),
      stopApi: async (signal = "SIGKILL") => await server?.stop(signal),
      startApi,
      log: () => server?.log() ?? "",
      async stop() {
        api.close();
        await server?.stop("SIGKILL");
        await etcd.stop("SIGKILL");
        rmSync(dir, { recursive: true });
      },
    };
  } catch (error) {
    await server?.stop("SIGKILL");
    await etcd.stop("SIGKILL");
    rmSync(dir, { recursive: true });
    throw error;
  }
}

function prepare(dir: string, tokens: ReadonlyMap<string, string>, groups: Readonly<Record<string, readonly string[]>>): void {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(join(dir, "sa.key"), privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 });
  writeFileSync(join(dir, "sa.pub"), publicKey.export({ type: "spki", format: "pem" }));
  const lines = [...tokens].map(([user, token]) => {
    const of = user === "admin" ? ["system:masters"] : (groups[user] ?? []);
    return `${token},${user},${user}${of.length === 0 ? "" : `,"${of.join(",")}"`}`;
  });
  writeFileSync(join(dir, "tokens.csv"), `${lines.join("\n")}\n`, { mode: 0o600 });
}

function flagsOf(dir: string, port: number, address: string, etcdUrl: string): Record<string, string> {
  return {
    "etcd-servers": etcdUrl,
    "bind-address": address,
    // nobody asks there; without a default route it finds no address by itself (RFC 5737)
    "advertise-address": "192.0.2.1",
    "secure-port": String(port),
    // it makes its own certificate there
    "cert-dir": dir,
    "token-auth-file": join(dir, "tokens.csv"),
    "authorization-mode": "RBAC",
    "service-account-issuer": "https://kubernetes.default.svc",
    "service-account-key-file": join(dir, "sa.pub"),
    "service-account-signing-key-file": join(dir, "sa.key"),
    "service-cluster-ip-range": "10.96.0.0/16",
    // nobody makes service accounts here, and without one no pod would be accepted
    "disable-admission-plugins": "ServiceAccount",
    "endpoint-reconciler-type": "none",
    "allow-privileged": "true",
    profiling: "false",
    // requests under way are cut at the end instead of waited for
    "shutdown-watch-termination-grace-period": "0s",
  };
}

function kubeconfigText(server: string, ca: string, token: string): string {
  const cluster = { server, "certificate-authority-data": Buffer.from(ca).toString("base64") };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    clusters: [{ name: "test", cluster }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test", namespace: "default" } }],
    users: [{ name: "test", user: { token } }],
  });
}

export async function runKubectl(kubeconfig: string, args: readonly string[], input?: string): Promise<string> {
  const child = spawn(program("kubectl"), ["--kubeconfig", kubeconfig, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "", HOME: dirname(kubeconfig) },
  });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk) => {
    output += String(chunk);
  });
  child.stderr.on("data", (chunk) => {
    errors += String(chunk);
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${errors}${output}`);
  return output;
}
