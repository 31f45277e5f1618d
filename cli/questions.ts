/** The commands that ask the components of a mesh. */
import { type Command, Option } from "commander";
import type { Act } from "./act.js";
import type { DrainOptions } from "./commands/drain.js";
import type { GetOptions } from "./commands/get.js";
import type { CliContext } from "./context.js";
import type { SourceOptions } from "./view/sources.js";

export type JsonOptions = SourceOptions & { readonly json?: boolean };

export function question(program: Command, { env }: CliContext, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--registry <url>", "registry to ask (env WEFT_REGISTRY_URL)", env["WEFT_REGISTRY_URL"])
    .option(
      "--nsmgr <url...>",
      "node managers to ask, as URL or NAME=URL (env WEFT_NSMGR_URLS)",
      env["WEFT_NSMGR_URLS"]?.split(","),
    )
    .option("--forwarder <url...>", "forwarders to ask, as URL or NAME=URL");
}

export function addQuestions(program: Command, context: CliContext, act: Act): void {
  program.commandsGroup("Questions (to the local mesh, or to --registry / --nsmgr):");
  question(program, context, "get", "list services, endpoints, connections, forwarders or pods")
    .argument("<kind>", "services | endpoints | connections | forwarders | pods")
    .argument("[name]", "only this one (connections: id or its beginning, or a pod's name)")
    .addOption(new Option("-o, --output <format>", "table with more columns, or data").choices(["wide", "json", "yaml"]))
    .option("-w, --watch", "go on with changes until interrupted")
    .action(
      act(async (kind: string, name: string | undefined, options: GetOptions) =>
        (await import("./commands/get.js")).get(kind, name, options, context),
      ),
    );
  question(program, context, "describe", "everything known about one service, endpoint, connection, forwarder, node or pod")
    .argument("<kind>", "service | endpoint | connection | forwarder | pod")
    .argument("<name>", "its name (connection: id or its beginning, or the pod's name)")
    .action(
      act(async (kind: string, name: string, options: SourceOptions) =>
        (await import("./commands/describe.js")).describe(kind, name, options, context),
      ),
    );
  question(
    program,
    context,
    "why",
    "hop by hop: the candidates considered for a connection, and the rule that chose or refused each",
  )
    .argument("<connection>", "id or its beginning, or the pod's name")
    .option("--json", "one JSON object")
    .action(
      act(async (connection: string, options: JsonOptions) =>
        (await import("./commands/why.js")).why(connection, options, context),
      ),
    );
  question(
    program,
    context,
    "drain",
    "have the connections of an endpoint, forwarder or node moved elsewhere, without a packet lost",
  )
    .argument("<kind>", "endpoint | forwarder | node")
    .argument("<name>", "its name")
    .option("--timeout <duration>", "how long to wait until the last connection has gone", "30s")
    .option("--undo", "let it take connections again")
    .option("--json", "one JSON object")
    .action(
      act(async (kind: string, name: string, options: DrainOptions) =>
        (await import("./commands/drain.js")).drain(kind, name, options, context),
      ),
    );
  question(program, context, "log-level", "read or change the log level of the running components")
    .argument("[level]", "trace | debug | info | warn | error; left out: only read")
    .option("--of <name>", "only the component of this name")
    .action(
      act(async (level: string | undefined, options: SourceOptions & { of?: string }) =>
        (await import("./commands/log-level.js")).logLevel(level, options, context),
      ),
    );
}
