/** weft install: the chart, with a look at the cluster before. What follows `--` goes to helm. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { type ClusterOptions, defaultNamespace, withCluster } from "./open.js";

export interface InstallOptions extends ClusterOptions {
  readonly chart?: string;
  readonly dryRun?: boolean;
}

const oldestMinor = 26;

/** @returns helm's exit code */
export async function install(more: readonly string[], options: InstallOptions, context: CliContext): Promise<number> {
  const chart = options.chart ?? ownChart();
  await withCluster(options, context, async (api) => {
    const { major, minor } = await api.call<{ major: string; minor: string }>({ path: "/version" });
    if (Number.parseInt(major, 10) === 1 && Number.parseInt(minor, 10) < oldestMinor) {
      throw statusError(Code.FAILED_PRECONDITION, `the cluster is ${major}.${minor}; Weft needs 1.${oldestMinor} or newer`);
    }
  });
  const where = [
    ...(options.kubeconfig === undefined ? [] : ["--kubeconfig", options.kubeconfig]),
    ...(options.context === undefined ? [] : ["--kube-context", options.context]),
  ];
  const wait = options.dryRun === true ? ["--dry-run=server"] : ["--wait"];
  const args = [
    "upgrade",
    "--install",
    "weft",
    chart,
    "--namespace",
    options.namespace ?? defaultNamespace,
    "--create-namespace",
  ];
  return runHelm([...args, ...wait, ...where, ...more], context);
}

function runHelm(args: readonly string[], { env, out, err }: CliContext): Promise<number> {
  const child = spawn("helm", [...args], { env: { ...env } as NodeJS.ProcessEnv, stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.on("data", (chunk: Buffer) => out.write(chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => err.write(chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(
        statusError(
          Code.FAILED_PRECONDITION,
          `helm cannot be started (${error.message}); install it: https://helm.sh/docs/intro/install`,
          error,
        ),
      ),
    );
    child.once("close", (code) => resolve(code ?? 1));
  });
}

/** That of this checkout; compiled code lies one folder deeper than the sources. */
function ownChart(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const chart = join(folder, "deploy", "helm", "weft");
    if (existsSync(join(chart, "Chart.yaml"))) return chart;
    if (folder === dirname(folder)) break;
  }
  throw statusError(Code.FAILED_PRECONDITION, "the chart is not beside this program; name it with --chart");
}
