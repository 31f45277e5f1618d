/** A client and endpoints that speak memif through the SDK, with a tool of the packet core behind each socket. */
import { MechanismType } from "../../sdk/api.js";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import { type Serving, serve } from "../../sdk/endpoint/serve.js";
import type { Connection } from "../../sdk/gen/connection.js";
import type { Identity } from "../../sdk/identity/identity.js";
import { parseMemif } from "../../sdk/mechanisms/memif.js";
import { startTool, type Tool } from "./tool.js";

export interface MemifEndpoint {
  readonly serving: Serving;
  /** The tool behind the newest connection. */
  tool(): Tool | undefined;
  close(): Promise<void>;
}

/** An endpoint whose every connection gets a tool (echo, sink) that listens on its socket. */
export async function serveMemif(options: {
  readonly nsmgr: string | undefined;
  readonly service: string;
  readonly cidr: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Of the endpoint; default: the service and this process's number. */
  readonly name?: string | undefined;
  readonly identity?: Identity | undefined;
  readonly signal: AbortSignal;
  readonly onLine?: (line: object) => void;
}): Promise<MemifEndpoint> {
  const { service, program, args, signal } = options;
  const tools = new Set<Tool>();
  let newest: Tool | undefined;
  const serving = await serve({
    ...(options.nsmgr === undefined ? {} : { nsmgr: options.nsmgr }),
    name: options.name ?? `${service}-${process.pid}`,
    identity: options.identity,
    services: [service],
    cidrs: [[options.cidr]],
    mechanisms: [MechanismType.MEMIF],
    drainTimeoutMs: 0,
    signal,
    onConnection({ connection, closed }) {
      const tool = startTool(
        program,
        [...args, "--server", ...socketArgs(connection)],
        AbortSignal.any([signal, closed]),
        options.onLine,
      );
      tools.add(tool);
      newest = tool;
      void tool.ended.then(() => tools.delete(tool));
    },
  });
  return {
    serving,
    tool: () => newest,
    async close() {
      await serving.close();
      await Promise.all([...tools].map((tool) => tool.stop().catch(() => {})));
    },
  };
}

export function connectMemif(
  url: string,
  nsmgr: string | undefined,
  signal: AbortSignal,
  who: { readonly name?: string; readonly identity?: Identity | undefined } = {},
): Promise<ClientConnection> {
  const at = nsmgr === undefined ? {} : { nsmgr };
  return connect({ url, ...at, ...who, signal, liveness: false, connectTimeoutMs: 30_000 });
}

/** How a tool reaches the socket of a connection. */
export function socketArgs(connection: Connection): string[] {
  const { mechanism } = connection;
  if (mechanism === undefined) return [];
  const { socketFile } = parseMemif(mechanism, connection.id);
  return ["--socket", socketFile, ...(connection.payload === "IP" ? ["--ip"] : [])];
}

/** Addresses of a connection without their prefix lengths: ours and the other end's. */
export function addressesOf(connection: Connection): { readonly own: string; readonly other: string } {
  const ip = connection.context?.ip_context;
  const first = (list: readonly string[] | undefined): string => list?.find((text) => text.includes("."))?.split("/")[0] ?? "";
  return { own: first(ip?.src_ip_addrs), other: first(ip?.dst_ip_addrs) };
}
