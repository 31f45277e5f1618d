/** Helm, for tests of the chart. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { kubernetesVersion } from "./rig/programs.js";

export const chart = fileURLToPath(new URL("../../deploy/helm/weft", import.meta.url));

/** Its path; undefined when this machine has none. */
export function findHelm(): string | undefined {
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "weft", "bin");
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), cache];
  return folders
    .map((folder) => join(folder, "helm"))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** For the `skip` of a test. */
export function noHelm(): string | false {
  return findHelm() === undefined && "helm is missing: GOBIN=~/.cache/weft/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0";
}

/**
 * Runs helm; resolves with its standard output.
 * @throws with what it wrote to standard error
 */
export function helm(args: readonly string[], kubeconfig?: string): Promise<string> {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: dirname(kubeconfig ?? "/tmp/x"),
    ...(kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }),
  };
  return new Promise((resolve, reject) => {
    execFile(findHelm() ?? "helm", [...args], { env, maxBuffer: 1e8 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`helm ${args.join(" ")}: ${stderr}${stdout}`, { cause: error }));
    });
  });
}

/** The manifests of the chart, as text. */
export function template(...values: readonly string[]): Promise<string> {
  const sets = values.flatMap((value) => ["--set", value]);
  return helm(["template", "weft", chart, "--namespace", "weft-system", "--kube-version", kubernetesVersion(), ...sets]);
}
