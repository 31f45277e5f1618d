/**
 * choose-forwarder — finds the forwarder of this node that carries the connection.
 * Needs:  context.previous (from `serialize`): a connection stays with its forwarder
 * Adds:   context.nextHop
 * Does:   tries the forwarders that rank-forwarders allows one after another, each with its share of the time left; one
 *         that did not answer is tried last for a while
 * Fails:  NOT_FOUND no such service; UNAVAILABLE no forwarder is there (yet) or none could do it;
 *         FAILED_PRECONDITION the connection's forwarder is gone: ask again with RESELECT_REQUESTED
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { CallContext, Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { type Connection, State } from "../sdk/gen/connection.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { nextSegment } from "../sdk/path.js";
import { forwarderLabelsFor } from "../sdk/registry/match.js";
import { Code, codeName, type StatusError, statusError, toStatusError } from "../sdk/status.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { rankForwarders } from "./rank-forwarders.js";

export interface NextHop {
  readonly nextHop: { readonly url: string; readonly name: string };
}
type HasPrevious = Pick<HasConnection, "previous">;

export interface ChooseForwarderDeps {
  readonly locals: LocalEndpoints;
  /** The service under which forwarders register. */
  readonly serviceName: string;
  /** The network service of that name (and payload, unless empty); NOT_FOUND if there is none. */
  readonly serviceOf: (name: string, payload: string, signal: AbortSignal) => Promise<NetworkService>;
  /** Whether it is to take no new connections (drain-endpoints). */
  readonly drains: (name: string) => boolean;
  /** Whether the registry has a forwarder of this name for this node, registered with us or not. */
  readonly isRegisteredHere: (name: string, signal: AbortSignal) => Promise<boolean>;
  readonly clock: Pick<Clock, "nowMs">;
  readonly explain: (connectionId: string, candidate: string, verdict: "CHOSEN" | "REFUSED" | "FAILED", rule: string) => void;
}

/** How long a forwarder that did not answer is tried last, in milliseconds. */
const avoidMs = 10_000;

export function chooseForwarder(deps: ChooseForwarderDeps): Element<ConnectionApi, HasPrevious, NextHop> {
  /** Until when, by name; only forwarders registered here get in. */
  const avoided = new Map<string, number>();
  const isAvoided = ({ name }: NetworkServiceEndpoint): boolean => (avoided.get(name) ?? 0) > deps.clock.nowMs();
  return {
    name: "choose-forwarder",
    steps: {
      async request(request, context, rest) {
        const { connection } = request;
        if (connection === undefined) throw statusError(Code.INVALID_ARGUMENT, "the request has no connection");
        const ranked = await candidatesFor(connection, context, deps);
        const candidates = [...ranked.filter((one) => !isAvoided(one)), ...ranked.filter(isAvoided)];
        const failures: { name: string; error: StatusError }[] = [];
        for (const [index, candidate] of candidates.entries()) {
          const turn = turnOf(context, candidates.length - index);
          try {
            const hop = turn === undefined ? rest : rest.detach({ ...turn, traceparent: context.traceparent });
            const answer = await hop.request(request, { nextHop: { url: candidate.url, name: candidate.name } });
            deps.explain(
              connection.id,
              candidate.name,
              "CHOSEN",
              failures.length === 0 ? "first in order" : "the ones before it failed",
            );
            return answer;
          } catch (thrown) {
            const error = toStatusError(thrown);
            deps.explain(connection.id, candidate.name, "FAILED", `${codeName(error.code)}: ${error.details}`);
            failures.push({ name: candidate.name, error });
            if (error.code === Code.UNAVAILABLE || error.code === Code.DEADLINE_EXCEEDED)
              avoided.set(candidate.name, deps.clock.nowMs() + avoidMs);
            if (context.signal.aborted || error.code === Code.INVALID_ARGUMENT) break;
          }
        }
        throw allFailed(failures);
      },
      async close(connection, context, rest) {
        const name = nextSegment(context.previous ?? connection)?.name;
        // it never went further than here
        if (name === undefined) return;
        const forwarder = deps.locals.ofService(deps.serviceName).find((candidate) => candidate.name === name);
        if (forwarder !== undefined) return rest.close(connection, { nextHop: { url: forwarder.url, name } });
        // Also when we have forgotten the connection, by the first Close or a restart: the forwarder still has it.
        const text = `forwarder ${name} is not registered with this manager; close again when it is, or what it built goes when its lease ends`;
        throw statusError(Code.UNAVAILABLE, text);
      },
    },
  };
}

async function candidatesFor(
  connection: Connection,
  context: CallContext & HasPrevious,
  deps: ChooseForwarderDeps,
): Promise<readonly NetworkServiceEndpoint[]> {
  const service = await deps.serviceOf(connection.network_service, connection.payload, context.signal);
  const reselect = connection.state === State.RESELECT_REQUESTED;
  const current = reselect ? undefined : nextSegment(context.previous ?? connection)?.name;
  const forwarders = deps.locals.ofService(deps.serviceName);
  const required = forwarderLabelsFor(service, connection.labels);
  const ranking = rankForwarders({ forwarders, serviceName: deps.serviceName, required, current });
  for (const { candidate, rule } of ranking.refused) deps.explain(connection.id, candidate, "REFUSED", rule);
  if (current !== undefined && ranking.candidates[0]?.name === current) return ranking.candidates.slice(0, 1);
  if (current !== undefined) await mayLeave(current, context, deps);
  const open = ranking.candidates.filter(({ name }) => !deps.drains(name));
  if (open.length > 0) return open;
  const [drained] = ranking.candidates;
  if (drained !== undefined) {
    const text = `forwarder ${drained.name} drains and takes no new connections, and no other one of this node fits; start one`;
    throw statusError(Code.UNAVAILABLE, text);
  }
  const labels = Object.entries(ranking.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  const names = forwarders.map((forwarder) => forwarder.name);
  throw statusError(
    Code.UNAVAILABLE,
    `service ${service.name}: no forwarder of this node has the labels {${labels.join(", ")}}; ` +
      `registered here: ${names.join(", ") || "none"}; start one, or correct the service's matches`,
  );
}

/** Its forwarder cannot take it: may the connection go to another one without being asked to? */
async function mayLeave(current: string, context: CallContext & HasPrevious, deps: ChooseForwarderDeps): Promise<void> {
  if (context.previous !== undefined) {
    const text = `forwarder ${current} is not available for this connection; ask again with state RESELECT_REQUESTED`;
    throw statusError(Code.FAILED_PRECONDITION, text);
  }
  // We know nothing of the connection but its path: we were restarted. Its forwarder may only not have come back to us.
  if (await deps.isRegisteredHere(current, context.signal)) {
    throw statusError(Code.UNAVAILABLE, `forwarder ${current} has not come back to this manager yet; try again`);
  }
}

/** An equal share of the time left for each candidate; undefined = all of it. */
function turnOf(context: CallContext, left: number): { signal: AbortSignal; deadlineMs: number } | undefined {
  if (left <= 1 || context.deadlineMs === undefined) return undefined;
  const shareMs = Math.max(1, Math.floor((context.deadlineMs - Date.now()) / left));
  return {
    signal: AbortSignal.any([context.signal, AbortSignal.timeout(shareMs)]),
    deadlineMs: Date.now() + shareMs,
  };
}

function allFailed(failures: readonly { name: string; error: StatusError }[]): StatusError {
  const [first] = failures;
  const last = failures.at(-1);
  if (first === undefined || last === undefined) return statusError(Code.INTERNAL, "no forwarder was tried");
  if (failures.length === 1) {
    return statusError(first.error.code, `forwarder ${first.name}: ${first.error.details}`, first.error);
  }
  const same = failures.every(({ error }) => error.code === first.error.code);
  const code = same ? first.error.code : last.error.code === Code.INVALID_ARGUMENT ? Code.INVALID_ARGUMENT : Code.UNAVAILABLE;
  const each = failures.map(({ name, error }) => `${name}: ${codeName(error.code)} ${error.details}`);
  return statusError(code, `all forwarders have failed: ${each.join("; ")}`, last.error);
}
