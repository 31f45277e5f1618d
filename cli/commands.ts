/** The command line of `weft`: names, options and help. What each command does is in commands/. */
import { Argument, Command, CommanderError, InvalidArgumentError } from "commander";
import type { Act, Action } from "./act.js";
import { addAuthorCommands } from "./author-commands.js";
import { addCluster } from "./cluster/commands.js";
import type { AuditOptions } from "./commands/audit.js";
import type { ChaosOptions } from "./commands/chaos.js";
import type { ConnectOptions } from "./commands/connect.js";
import type { DemoOptions } from "./commands/demo.js";
import type { MemifOptions, MemifTool } from "./commands/memif.js";
import type { PingOptions } from "./commands/ping.js";
import type { RunOptions } from "./commands/run.js";
import type { ServeOptions } from "./commands/serve.js";
import { components } from "./components.js";
import type { CliContext } from "./context.js";
import { nodeCount, wholeNumber } from "./numbers.js";
import { addQuestions, type JsonOptions, question } from "./questions.js";
import { version } from "./version.js";

/** @returns the exit code */
export async function runCommand(argv: readonly string[], context: CliContext): Promise<number> {
  let exitCode = 0;
  const act =
    <A extends Action>(action: A) =>
    async (...args: Parameters<A>): Promise<void> => {
      exitCode = await action(...args);
    };
  const program = new Command("weft")
    .description("Weft: extra network connections for workloads, asked for by name")
    .version(version, "-V, --version")
    .showHelpAfterError("(see weft --help)")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: (text) => context.out.write(text), writeErr: (text) => context.err.write(text) });
  addComponents(program);
  addMeshCommands(program, context, act);
  addWorkloads(program, context, act);
  addPing(program, context, act);
  addMemif(program, context, act);
  addCluster(program, context, act);
  addQuestions(program, context, act);
  addDoctor(program, context, act);
  addAuthorCommands(program, context, act);
  addAudit(program, context, act);
  try {
    await program.parseAsync(argv.length === 0 ? ["--help"] : [...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
}

/** For the help only: main.ts has run them before commander is loaded. */
function addComponents(program: Command): void {
  program.commandsGroup("Components (each: weft NAME --help lists its settings and their environment names):");
  for (const [name, { summary }] of components) program.command(name).description(summary).allowUnknownOption();
}

function addMeshCommands(program: Command, context: CliContext, act: Act): void {
  program.commandsGroup("A local mesh (nodes and pods are network namespaces):");
  program
    .command("demo")
    .description("build a mesh, send packets through it, prove what it promises, remove it (no root needed)")
    .option("--json", "one object on standard output: {ok, proofs: [{name, ok, detail}]}")
    .option("--keep", "leave the mesh up to explore; `weft down` removes it")
    .option(
      "--fast",
      "the fast path: memif at full rate across two nodes, through a worker that is killed; needs no right at all",
    )
    .action(act(async (options: DemoOptions) => (await import("./commands/demo.js")).demo(options, context)));
  program
    .command("up")
    .description("start a local mesh: a registry, and on each node an nsmgr and a forwarder")
    .option("-n, --nodes <number>", "number of nodes", nodeCount, 2)
    .action(act(async (options: { nodes: number }) => (await import("./commands/up.js")).up(options, context)));
  program
    .command("down")
    .description("take the local mesh down and remove everything it made, also after a crash")
    .action(act(async () => (await import("./commands/down.js")).down(context)));
  addChaos(program, context, act);
  program
    .command("supervise", { hidden: true })
    .requiredOption("--nodes <number>", "number of nodes", nodeCount)
    .action(
      act(async (options: { nodes: number }) => (await import("./commands/up.js")).superviseInBackground(options, context)),
    );
  program
    .command("traffic", { hidden: true })
    .argument("<request>", "what to send or answer, as JSON")
    .action(act(async (request: string) => (await import("./demo/traffic.js")).traffic(request, context)));
}

function addChaos(program: Command, context: CliContext, act: Act): void {
  const run = program
    .command("chaos")
    .description("rehearse faults on a mesh of its own under traffic: what each one cost, and what is left behind")
    .option("--seed <number>", "which faults; the same number, the same faults", wholeNumber, 1)
    .option("-n, --nodes <number>", "number of nodes", nodeCount, 2)
    .option("--connections <number>", "connections that carry packets", wholeNumber, 50)
    .option("--faults <number>", "how many faults (default: 15)", wholeNumber)
    .option("--short", "five faults")
    .option("--only <kind,...>", "only faults of these kinds")
    .option("--churn <cycles>", "instead: clients come and go, components are killed now and then; what is left?", wholeNumber)
    .option(
      "--spare <node>",
      "with --churn: its processes and the registry live through it, so that a slope of memory can be told",
    )
    .option("--topology <file>", "your own services, endpoints and clients (YAML, docs/resilience.md)")
    .option("--probe-interval <ms>", "pause between two liveness probes of the clients", wholeNumber, 100)
    .option("--probe-timeout <ms>", "without an answer for so long a data path is dead", wholeNumber, 300)
    .option("--logs <folder>", "copy the logs of all processes there at the end")
    .option("--json", "one object on standard output: {ok, summary, timeline, …}");
  run.action(act(async (options: ChaosOptions) => (await import("./commands/chaos.js")).chaos(options, flagsOf(run), context)));
  program
    .command("chaos-probe", { hidden: true })
    .argument("<plan>", "file with what to probe")
    .action(act(async (plan: string) => (await import("./chaos/prober.js")).probe(plan, context)));
  program
    .command("chaos-rings", { hidden: true })
    .argument("<role>", "client or endpoint")
    .action(act(async (role: string) => (await import("./chaos/rings.js")).rings(role, context)));
  program
    .command("chaos-cable", { hidden: true })
    .argument("<plan>", "which cable, and how bad, as JSON")
    .action(act(async (plan: string) => (await import("./chaos/cable.js")).cable(plan, context)));
}

/** The options of a command as they were given, to start it again. */
function flagsOf(command: Command): string[] {
  return command.options.flatMap(({ long }) => {
    const name = command.options.find((option) => option.long === long)?.attributeName() ?? "";
    const value: unknown = command.getOptionValue(name);
    if (long === undefined || long === null || value === undefined) return [];
    return value === true ? [long] : [long, String(value)];
  });
}

function addWorkloads(program: Command, context: CliContext, act: Act): void {
  program
    .command("serve")
    .description("run an endpoint of a service in a pod, until interrupted")
    .argument("<service>", "name of the network service")
    .option("--cidr <prefix...>", "address pools for clients, IPv4 and IPv6", ["172.16.0.0/24", "fd00:16::/120"])
    .option("--labels <k:v,...>", "labels of the endpoint", "")
    .option("--node <name>", "node of the pod", "node-2")
    .option("--pod <name>", "name of the pod (default: the service's)")
    .option("-d, --detach", "return when it serves; `weft down` ends it")
    .action(
      act(async (service: string, options: ServeOptions) =>
        (await import("./commands/serve.js")).serve(service, options, context),
      ),
    );
  program
    .command("connect")
    .description("connect a pod to a service and hold the connection, until interrupted")
    .argument("<url>", "kernel://SERVICE[/INTERFACE][?label=value], or just SERVICE")
    .option("--node <name>", "node of the pod", "node-1")
    .option("--pod <name>", "name of the pod", "client")
    .option("-d, --detach", "return when connected; `weft down` ends it")
    .option("--timeout <duration>", "give up, and remove the pod, when it is not connected by then; 0 = never", "30s")
    .action(
      act(async (url: string, options: ConnectOptions) => (await import("./commands/connect.js")).connect(url, options, context)),
    );
  program
    .command("run")
    .description(
      "run a program of your own in a pod, with the variables that tell it where its mesh is: weft run NAME -- PROGRAM …",
    )
    .argument("<pod>", "name of the pod; the program finds it in NSM_NAME")
    .argument("<command...>", "program and arguments")
    .option("--node <name>", "node of the pod", "node-1")
    .option("--env <NAME=VALUE...>", "further variables")
    .option("-d, --detach", "return when it serves or is connected; `weft down` ends it")
    .action(
      act(async (pod: string, command: string[], options: RunOptions) =>
        (await import("./commands/run.js")).run(pod, command, options, context),
      ),
    );
  program
    .command("exec")
    .description("run a program inside a pod or node, for example: weft exec client -- ip address")
    .argument("<pod>", "pod or node of the local mesh")
    .argument("<command...>", "program and arguments")
    .passThroughOptions()
    .action(act(async (pod: string, command: string[]) => (await import("./commands/exec.js")).exec(pod, command, context)));
}

function addMemif(program: Command, context: CliContext, act: Act): void {
  program
    .command("memif")
    .description("try memif without a program of your own: ping or blast a service, or be an endpoint that echoes or counts")
    .addArgument(
      new Argument("<what>", "as a client: ping, blast; as an endpoint: echo, sink").choices(["ping", "blast", "echo", "sink"]),
    )
    .argument("<service>", "name of the network service")
    .option("--nsmgr <url>", "node manager to ask (default: the socket that every node of a mesh has)")
    .option("--cidr <prefix>", "echo, sink: pool of addresses for clients", "10.60.0.0/24")
    .option("--size <bytes>", "ping, blast: bytes of a packet")
    .option("--rate <packets>", "blast: packets a second (default: as many as go)")
    .option("--seconds <number>", "ping, blast: how long")
    .option("--count <number>", "ping, blast: how many packets")
    .action(
      act(async (what: MemifTool, service: string, options: MemifOptions) =>
        (await import("./commands/memif.js")).memif(what, service, options, context),
      ),
    );
}

function addPing(program: Command, context: CliContext, act: Act): void {
  program
    .command("ping")
    .description("echo requests from here, for pods and images without a ping; exit code 0 when all were answered")
    .argument("[address]", "whom; left out: the other end of the connection on --interface")
    .option("-I, --interface <name>", "leave by this interface")
    .option("-c, --count <number>", "how many", echoCount, 3)
    .option("-i, --interval <duration>", "between two", "1s")
    .option("--wait <duration>", "how long the interface and the first answer may take", "0s")
    .action(
      act(async (address: string | undefined, options: PingOptions) =>
        (await import("./commands/ping.js")).ping(address, options, context),
      ),
    );
}

function echoCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError("it must be 1 … 999999.");
  return Number(text);
}

function addDoctor(program: Command, context: CliContext, act: Act): void {
  question(program, context, "doctor", "what this machine can do, what is wrong, how to fix it; then the health of the mesh")
    .option("--json", "one JSON object")
    .action(act(async (options: JsonOptions) => (await import("./commands/doctor.js")).doctor(options, context)));
}

/** Of this machine, whether a mesh runs or not. */
function addAudit(program: Command, context: CliContext, act: Act): void {
  program
    .command("audit")
    .description("compare the ledgers of this machine's forwarders with what is there, and name what nobody has")
    .option("--state-dir <folder...>", "WEFT_STATE_DIR of forwarders (default: those of this machine)")
    .option("--nsmgr <url...>", "managers whose names are looked at (default: those of the local mesh)")
    .option("--fix", "take away what is provably of these ledgers and in none of them")
    .option("--json", "one JSON object")
    .action(act(async (options: AuditOptions) => (await import("./commands/audit.js")).auditCommand(options, context)));
}
