/** The commands of `weft` for authors of network functions. */
import type { Command } from "commander";
import type { Act } from "./act.js";
import type { InitOptions } from "./commands/init.js";
import type { CliContext } from "./context.js";
import type { SourceOptions } from "./view/sources.js";

export function addAuthorCommands(program: Command, context: CliContext, act: Act): void {
  program.commandsGroup("For authors of network functions:");
  program
    .command("new")
    .description("print the source of a smallest endpoint or client, to start your own from")
    .argument("<what>", "endpoint | client")
    .argument("<service>", "name of the network service")
    .action(
      act(async (what: string, service: string) => (await import("./commands/new.js")).printSkeleton(what, service, context)),
    );
  program
    .command("init")
    .description("make a folder with a network function of your own: source, test, Dockerfile, chart")
    .argument("<what>", "endpoint | client | firewall")
    .argument("<name>", "its name, and its folder's")
    .option("--service <name>", "the network service that it serves or asks for (default: hello)")
    .option("--dir <folder>", "where to make it (default: its name)")
    .action(
      act(async (what: string, name: string, options: InitOptions) =>
        (await import("./commands/init.js")).init(what, name, options, context),
      ),
    );
  program
    .command("completion")
    .description("print what makes a shell complete weft's commands, for example: source <(weft completion bash)")
    .argument("<shell>", "bash | zsh | fish")
    .action(
      act(async (shell: string) => {
        const { completionScript } = await import("./commands/completion.js");
        context.out.write(completionScript(shell, program));
        return 0;
      }),
    );
  program
    .command("apply")
    .description("enter network services from a YAML file, in the form in which Kubernetes keeps them")
    .argument("<file>", "a path, or - for standard input")
    .option(
      "--registry <url>",
      "registry to tell (env WEFT_REGISTRY_URL; default: the local mesh's)",
      context.env["WEFT_REGISTRY_URL"],
    )
    .action(
      act(async (file: string, options: SourceOptions) => (await import("./commands/apply.js")).apply(file, options, context)),
    );
}
