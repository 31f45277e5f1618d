/** weft drain: connections of an endpoint, a forwarder or a node's endpoints make their new path before the old one goes. */
import { parseDurationMs } from "../../sdk/config/duration.js";
import type { DrainAnswer, DrainRequest } from "../../sdk/gen/inspect.js";
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { operatorDialer } from "../operator-dialer.js";
import { findSources, questionTimeoutMs, type Source, type SourceOptions } from "../view/sources.js";

export interface DrainOptions extends SourceOptions {
  readonly timeout: string;
  readonly undo?: boolean;
  readonly json?: boolean;
}

/** @returns 0 when no connection is left, 1 when some found no other place in time */
export async function drain(kind: string, name: string, options: DrainOptions, context: CliContext): Promise<number> {
  const waitMs = parseWait(options.timeout);
  const request: DrainRequest = { undo: options.undo === true, wait_ms: waitMs, endpoint: kind === "node" ? "" : name };
  const dialer = await operatorDialer(options, context);
  try {
    const sources = await findSources(options, dialer, context.signal);
    const ask = (source: Source): Promise<DrainAnswer> => {
      const limit = AbortSignal.any([context.signal, AbortSignal.timeout(waitMs + questionTimeoutMs)]);
      return dialer.inspect(source.url).drain(request, { signal: limit });
    };
    const answer = await askOne(kind, name, sources, ask);
    const left = answer.connections_left;
    if (options.json === true) {
      context.out.write(`${JSON.stringify({ kind, name, draining: answer.draining, connectionsLeft: left })}\n`);
    } else if (request.undo) context.out.write(`${kind} ${name} takes connections again\n`);
    else if (left === 0) context.out.write(`${kind} ${name} is drained: no connection is left; it can be stopped\n`);
    else {
      const what = left === 1 ? "1 connection has" : `${left} connections have`;
      context.out.write(
        `${kind} ${name}: ${what} found no other place within ${options.timeout} and stay; ` +
          "start another endpoint or forwarder, or take it back with --undo\n",
      );
    }
    return request.undo || left === 0 ? 0 : 1;
  } finally {
    dialer.close();
  }
}

const longestWaitMs = 24 * 3_600_000;

function parseWait(text: string): number {
  let waitMs: number;
  try {
    waitMs = parseDurationMs(text);
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `--timeout ${(error as Error).message}`, error);
  }
  if (waitMs >= 0 && waitMs <= longestWaitMs) return Math.ceil(waitMs);
  throw statusError(Code.INVALID_ARGUMENT, `--timeout ${text} is out of range; write 0s … 24h, for example 30s`);
}

async function askOne(
  kind: string,
  name: string,
  sources: readonly Source[],
  ask: (source: Source) => Promise<DrainAnswer>,
): Promise<DrainAnswer> {
  if (kind === "endpoint" || kind === "forwarder") return askTheirManager(kind, name, sources, ask);
  if (kind !== "node") {
    throw statusError(Code.INVALID_ARGUMENT, `"${kind}" cannot be drained; there are endpoint, forwarder and node`);
  }
  const managers = sources.filter((source) => source.kind === "nsmgr");
  const manager = managers.find((each) => each.name === name || each.node === name);
  if (manager !== undefined) return ask(manager);
  const names = managers.map((each) => each.node || each.name);
  throw statusError(Code.NOT_FOUND, `no ${kind} "${name}"; there are ${names.join(", ") || "none"}`);
}

/** The manager it is registered with can say more than the registry: one that does not know it says NOT_FOUND. */
async function askTheirManager(
  kind: string,
  name: string,
  sources: readonly Source[],
  ask: (source: Source) => Promise<DrainAnswer>,
): Promise<DrainAnswer> {
  const problems: string[] = [];
  const managers = sources.filter(({ kind }) => kind === "nsmgr");
  const answers = await Promise.all(
    managers.map(async (manager) => {
      try {
        return await ask(manager);
      } catch (error) {
        const { code, details } = toStatusError(error);
        if (code !== Code.NOT_FOUND) problems.push(`${manager.name}: ${details}`);
        return undefined;
      }
    }),
  );
  const answer = answers.find((each) => each !== undefined);
  if (answer !== undefined) return answer;
  const others = problems.length === 0 ? "" : `; ${problems.join("; ")}`;
  throw statusError(
    Code.NOT_FOUND,
    `no ${kind} "${name}" is registered with ${managers.map((each) => each.name).join(", ")}${others}`,
  );
}
