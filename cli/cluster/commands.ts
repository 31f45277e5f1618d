/** The commands that go to a Kubernetes cluster. */
import { type Command, Option } from "commander";
import type { Act } from "../act.js";
import type { CliContext } from "../context.js";
import type { InstallOptions } from "./install.js";
import type { ClusterOptions } from "./open.js";

export function addCluster(program: Command, context: CliContext, act: Act): void {
  program.commandsGroup("A Kubernetes cluster (through the kubeconfig; as `kubectl weft`, too):");
  reaching(program.command("install"))
    .description("install or upgrade the chart, after a look at the cluster; what follows -- goes to helm")
    .argument("[helm...]", "for example -- --set webhook.mode=node")
    .option("--chart <path>", "default: the one of this checkout")
    .option("--dry-run", "render and let the cluster check it, change nothing")
    .action(
      act(async (more: string[], options: InstallOptions) => (await import("./install.js")).install(more, options, context)),
    );
  reaching(program.command("bundle"))
    .description("collect what a report of a problem needs into a folder, with secrets removed")
    .option("--out <folder>", "default: weft-bundle-TIME")
    .action(act(async (options: ClusterOptions & { out?: string }) => (await import("./bundle.js")).bundle(options, context)));
  addClusterQuestions(program, context, act);
}

function reaching(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "default: as kubectl does")
    .option("--context <name>", "of the kubeconfig")
    .option("-n, --namespace <name>", "of the release", "weft-system");
}

function addClusterQuestions(program: Command, context: CliContext, act: Act): void {
  const cluster = program.command("cluster").description("questions to a cluster: get, describe, why, doctor, log-level");
  reaching(cluster.command("get"))
    .argument("<kind>", "services | endpoints | connections | pods")
    .addOption(new Option("-o, --output <format>", "instead of a table").choices(["json", "yaml"]))
    .action(
      act(async (kind: string, options: ClusterOptions & { output?: "json" | "yaml" }) =>
        (await import("./get.js")).clusterGet(kind, options, context),
      ),
    );
  reaching(cluster.command("describe"))
    .argument("<kind>", "service | endpoint | connection | pod")
    .argument("<name>", "its name (connection: or its pod's)")
    .action(
      act(async (kind: string, name: string, options: ClusterOptions) =>
        (await import("./get.js")).clusterDescribe(kind, name, options, context),
      ),
    );
  reaching(cluster.command("doctor"))
    .option("--json", "one JSON object")
    .action(
      act(async (options: ClusterOptions & { json?: boolean }) => (await import("./doctor.js")).clusterDoctor(options, context)),
    );
  reaching(cluster.command("why"))
    .description("hop by hop: the candidates considered for a pod's connections, and the rule that chose or refused each")
    .argument("<pod>", "POD or NAMESPACE/POD")
    .option("--service <name>", "only the connection to this network service")
    .option("--json", "one JSON object")
    .action(
      act(async (pod: string, options: ClusterOptions & { json?: boolean; service?: string }) =>
        (await import("./why.js")).clusterWhy(pod, options, context),
      ),
    );
  reaching(cluster.command("log-level"))
    .description("read or change the log level of managers and forwarders")
    .argument("[level]", "trace | debug | info | warn | error; left out: only read")
    .option("--node <name>", "only of this node")
    .action(
      act(async (level: string | undefined, options: ClusterOptions & { node?: string }) =>
        (await import("./log-level.js")).clusterLogLevel(level, options, context),
      ),
    );
}
