/** weft memif ping|blast|sink|echo: tries a memif connection without a program of one's own. */
import type { Identity } from "../../sdk/identity/identity.js";
import { createLog } from "../../sdk/telemetry/log.js";
import type { CliContext } from "../context.js";
import { startTool, toolProgram } from "../fast/tool.js";
import { addressesOf, connectMemif, serveMemif, socketArgs } from "../fast/workloads.js";
import { environmentIdentity } from "../operator-dialer.js";
import { untilAborted } from "../until-aborted.js";

export interface MemifOptions {
  readonly nsmgr?: string;
  readonly cidr: string;
  readonly size?: string;
  readonly rate?: string;
  readonly seconds?: string;
  readonly count?: string;
}

export type MemifTool = "ping" | "blast" | "sink" | "echo";

export async function memif(tool: MemifTool, service: string, options: MemifOptions, context: CliContext): Promise<number> {
  const program = await toolProgram();
  const name = service.replace(/^memif:\/\//, "");
  // in a pod: who it is, and under which name
  const identity = await environmentIdentity(context, createLog({ name: "weft", level: "warn", destination: context.err }));
  const own = context.env["NSM_NAME"];
  const who: Who = { ...(own !== undefined && { name: own }), identity };
  try {
    return tool === "ping" || tool === "blast"
      ? await asClient(tool, program, name, who, options, context)
      : await asEndpoint(tool, program, name, who, options, context);
  } finally {
    identity?.close();
  }
}

interface Who {
  readonly name?: string;
  readonly identity: Identity | undefined;
}

async function asClient(
  tool: MemifTool,
  program: string,
  service: string,
  who: Who,
  options: MemifOptions,
  context: CliContext,
): Promise<number> {
  const { signal } = context;
  const connection = await connectMemif(`memif://${service}`, options.nsmgr ?? context.env["NSM_CONNECT_TO"], signal, who);
  try {
    const { own, other } = addressesOf(connection.connection);
    context.err.write(
      `connected to ${connection.connection.network_service_endpoint_name}: ${own} → ${other}, MTU ${connection.context.MTU}\n`,
    );
    const given = Object.entries({ size: options.size, rate: options.rate, seconds: options.seconds, count: options.count });
    const more = given.flatMap(([key, value]) => (value === undefined ? [] : [`--${key}`, value]));
    const args = [tool, ...socketArgs(connection.connection), "--from", own, "--to", other, ...more];
    return await startTool(program, args, signal, (line) => void context.out.write(`${JSON.stringify(line)}\n`)).ended;
  } finally {
    await connection.close();
  }
}

async function asEndpoint(
  tool: MemifTool,
  program: string,
  service: string,
  who: Who,
  options: MemifOptions,
  context: CliContext,
): Promise<number> {
  const endpoint = await serveMemif({
    ...who,
    nsmgr: options.nsmgr ?? context.env["NSM_CONNECT_TO"],
    service,
    cidr: options.cidr,
    program,
    args: [tool],
    signal: context.signal,
    onLine: (line) => void context.out.write(`${JSON.stringify(line)}\n`),
  });
  context.err.write(`${endpoint.serving.name} serves ${service} by memif, pool ${options.cidr}; Ctrl-C ends it\n`);
  await untilAborted(context.signal);
  await endpoint.close();
  return 0;
}
