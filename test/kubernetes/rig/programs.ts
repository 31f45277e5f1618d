/** Where the programs of a cluster are on this machine, and what would make a missing one appear. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findExecutable, foldersOf } from "../../../sdk/linux/executable.js";

const built = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"] as const;
type Built = (typeof built)[number];
/** Debian packages that have the others. */
const packages = {
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  containerd: "containerd",
  ctr: "containerd",
  runc: "runc",
  busybox: "busybox-static",
  nft: "nftables",
} as const;
export type Program = Built | keyof typeof packages;

const module = fileURLToPath(new URL("kubernetes/go.mod", import.meta.url));

export function kubernetesVersion(): string {
  return /k8s\.io\/kubernetes v([\d.]+)$/m.exec(readFileSync(module, "utf8"))?.[1] ?? "";
}

/** Where build.sh puts what it builds. */
function cacheDir(): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "weft", `kubernetes-${kubernetesVersion()}`);
}

/** The path of a program; undefined when this machine has none. */
export function findProgram(program: Program): string | undefined {
  const isBuilt = (built as readonly string[]).includes(program);
  const assets = process.env["KUBEBUILDER_ASSETS"];
  const path = foldersOf(process.env["PATH"]);
  const folders = isBuilt
    ? [...(assets ? [assets] : []), cacheDir()]
    : [...(assets ? [assets] : []), ...path, "/usr/sbin", "/sbin"];
  return findExecutable(program, folders);
}

/** Why the programs cannot all be had here, with the remedy; false = they are there. For the `skip` of a test. */
export function lacking(...programs: readonly Program[]): string | false {
  const missing = programs.filter((program) => findProgram(program) === undefined);
  if (missing.length === 0) return false;
  const toBuild = missing.filter((program) => (built as readonly string[]).includes(program));
  const toInstall = missing.flatMap((program) => (program in packages ? [packages[program as keyof typeof packages]] : []));
  const remedies = [
    toBuild.length > 0 && `run test/kubernetes/rig/kubernetes/build.sh ${toBuild.join(" ")} or set KUBEBUILDER_ASSETS`,
    toInstall.length > 0 && `apt-get install ${[...new Set(toInstall)].join(" ")}`,
  ];
  return `${missing.join(", ")} missing: ${remedies.filter((one) => one !== false).join("; ")}`;
}

export function program(name: Program): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(lacking(name) || name);
  return path;
}
