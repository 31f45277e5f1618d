/**
 * choose-endpoint — finds who provides the network service, and tries one after the other.
 * Does:   nothing when the request names its endpoint (a refresh does). Else asks the registries for the service and its
 *         endpoints, keeps those that the service's `matches` allow, starts at the next one in turn, and goes on to the
 *         next when one fails or uses up its share of the time. Whom a reselect leaves is tried after the others. One that did
 *         not answer, whoever named it, is tried last for a while, and those before it leave it little time: it may be dead,
 *         and its entry in the registry not know it. One that answered somebody else meanwhile is only slow. Takes the payload
 *         from the service.
 * Fails:  NOT_FOUND no such service, or no endpoint that may serve; as the endpoint says when there was only one;
 *         UNAVAILABLE naming each failure when all of several failed
 * Order:  before `undo`, so that what a failed try has built is taken back before the next
 */
import type { ConnectionApi, Registry } from "../api.js";
import type { Element } from "../chain.js";
import { Connection, State } from "../gen/connection.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { selectCandidates } from "../registry/match.js";
import { Code, codeName, statusError, toStatusError } from "../status.js";
import { timestampMs } from "../timestamp.js";
import type { Journal } from "./explain.js";
import { withShareOfTime } from "./time-limit.js";

export interface ChooseEndpointOptions {
  readonly services: Pick<Registry<NetworkService>, "find">;
  readonly endpoints: Pick<Registry<NetworkServiceEndpoint>, "find">;
  readonly journal: Pick<Journal, "note">;
  readonly nowMs?: () => number;
}

const step = "choose-endpoint";
/** How long an endpoint that did not answer is tried last, in milliseconds. */
const avoidMs = 10_000;
const maxAvoided = 1_000;
/**
 * What one that answers leaves to those that did not, as a part of its own share. With an equal share a mesh that is busy healing
 * would give up what is nearly built, to ask a dead node for as long.
 */
const shareOfAvoided = 0.2;

export function chooseEndpoint(options: ChooseEndpointOptions): Element<ConnectionApi> {
  const { journal, nowMs = Date.now } = options;
  const nextTurn = takeTurns();
  const silences = rememberSilence(nowMs);

  async function candidatesFor(connection: Connection, service: NetworkService, signal: AbortSignal): Promise<string[]> {
    const query = NetworkServiceEndpoint.fromPartial({ network_service_names: [service.name] });
    const living: NetworkServiceEndpoint[] = [];
    for await (const { entry, deleted } of options.endpoints.find(query, { watch: false, signal })) {
      if (deleted) continue;
      if (entry.expiration_time !== undefined && timestampMs(entry.expiration_time) <= nowMs()) {
        journal.note(connection.id, step, entry.name, "REFUSED", "its registration has expired");
      } else living.push(entry);
    }
    // The registry's order means nothing; taking turns needs one that stays.
    living.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    const allowed = selectCandidates(service, living, connection.labels, (candidate, verdict, rule) => {
      if (verdict === "REFUSED") journal.note(connection.id, step, candidate, verdict, rule);
    });
    if (allowed.length === 0) {
      const why = living.length === 0 ? "none is registered" : `none of ${living.length} matches the labels of the connection`;
      throw statusError(Code.NOT_FOUND, `no endpoint for network service "${service.name}": ${why}`);
    }
    const start = nextTurn(service.name) % allowed.length;
    const left = givenUp(connection);
    const inTurn = [...new Set([...allowed.slice(start), ...allowed.slice(0, start)].map(({ name }) => name))];
    // else two clients that take turns of two endpoints would be sent back to where they come from, each by the other's turn
    const names = [...inTurn.filter((name) => !left.has(name)), ...inTurn.filter((name) => left.has(name))];
    return [...names.filter((name) => !silences.isAvoided(name)), ...silences.longestFirst(names)];
  }

  return {
    name: step,
    steps: {
      async request(request, { signal, deadlineMs, traceparent }, rest) {
        const connection = request.connection ?? Connection.fromPartial({});
        const named = connection.network_service_endpoint_name;
        if (named !== "" && connection.payload !== "") return silences.run(named, () => rest.request(request));
        const service = await findService(options.services, connection, signal);
        const payload = service.payload || connection.payload;
        if (named !== "") return silences.run(named, () => rest.request({ ...request, connection: { ...connection, payload } }));
        const names = await candidatesFor(connection, service, signal);
        const answering = names.filter((name) => !silences.isAvoided(name)).length;
        const failures: { name: string; error: unknown }[] = [];
        for (const [index, name] of names.entries()) {
          const chosen = { ...request, connection: { ...connection, payload, network_service_endpoint_name: name } };
          const left = names.length - index;
          const tries = index < answering ? answering - index + shareOfAvoided * Math.sign(names.length - answering) : left;
          const attempt = (): Promise<Connection> =>
            withShareOfTime({ signal, deadlineMs }, tries, (share) =>
              left === 1 ? rest.request(chosen) : rest.detach({ ...share, traceparent }).request(chosen),
            );
          try {
            const answer = await silences.run(name, attempt);
            const rule = names.length === 1 ? "the only endpoint that may serve" : `its turn among ${names.length}`;
            journal.note(connection.id, step, name, "CHOSEN", failures.length > 0 ? "the first that answered" : rule);
            return answer;
          } catch (error) {
            signal.throwIfAborted();
            const { code, details } = toStatusError(error);
            journal.note(connection.id, step, name, "FAILED", `${codeName(code)}: ${details}`);
            failures.push({ name, error });
          }
        }
        throw allFailed(service.name, failures);
      },
    },
  };
}

/** Whom the caller has just given up, when it asks for another one: its path still shows them. */
function givenUp({ state, path }: Connection): ReadonlySet<string> {
  const later = state === State.RESELECT_REQUESTED ? path?.path_segments.slice(path.index + 1) : undefined;
  return new Set(later?.map(({ name }) => name));
}

/** Which endpoints left somebody without an answer lately. */
function rememberSilence(nowMs: () => number) {
  /** Until when, and when it last answered, by name. */
  const avoided = new Map<string, number>();
  const answered = new Map<string, number>();
  const note = (map: Map<string, number>, name: string, timeMs: number): void => {
    if (map.size >= maxAvoided) map.clear();
    map.set(name, timeMs);
  };
  const isAvoided = (name: string): boolean => (avoided.get(name) ?? 0) > nowMs();
  return {
    isAvoided,
    /** Of these, those to avoid; first the one whose silence is the longest ago. */
    longestFirst: (names: readonly string[]): string[] =>
      names.filter(isAvoided).sort((a, b) => (avoided.get(a) ?? 0) - (avoided.get(b) ?? 0)),
    /** Runs a try at an endpoint and remembers one that did not answer, nor anybody else since the try began. */
    async run(name: string, attempt: () => Promise<Connection>): Promise<Connection> {
      const begunMs = nowMs();
      try {
        const answer = await attempt();
        avoided.delete(name);
        note(answered, name, nowMs());
        return answer;
      } catch (error) {
        const isAway = toStatusError(error).code === Code.UNAVAILABLE;
        const isSlow = !isAway && (answered.get(name) ?? Number.NEGATIVE_INFINITY) >= begunMs;
        if (isSilence(error) && !isSlow) note(avoided, name, nowMs() + avoidMs);
        throw error;
      }
    },
  };
}

/** Nobody answered, as against an answer that refuses. */
function isSilence(error: unknown): boolean {
  const { code } = toStatusError(error);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
}

async function findService(
  services: Pick<Registry<NetworkService>, "find">,
  { network_service: name, payload }: Connection,
  signal: AbortSignal,
): Promise<NetworkService> {
  const query = NetworkService.fromPartial({ name, payload });
  for await (const { entry, deleted } of services.find(query, { watch: false, signal })) {
    if (!deleted && entry.name === name) return entry;
  }
  const which = payload === "" ? "" : ` with payload ${payload}`;
  throw statusError(Code.NOT_FOUND, `network service "${name}"${which} is not registered`);
}

function allFailed(service: string, failures: readonly { name: string; error: unknown }[]): Error {
  const [first] = failures;
  if (first !== undefined && failures.length === 1) return toStatusError(first.error);
  const texts = failures.map(({ name, error }) => {
    const { code, details } = toStatusError(error);
    return `${name}: ${codeName(code)} ${details}`;
  });
  const codes = new Set(failures.map(({ error }) => toStatusError(error).code));
  const [only] = codes;
  const code = codes.size === 1 && only !== undefined ? only : Code.UNAVAILABLE;
  return statusError(code, `all ${failures.length} endpoints of "${service}" failed: ${texts.join("; ")}`, first?.error);
}

/** A counter per service. Names come from strangers, but only those of registered services get here. */
function takeTurns(): (service: string) => number {
  const turns = new Map<string, number>();
  return (service) => {
    const turn = turns.get(service) ?? 0;
    turns.set(service, (turn + 1) % Number.MAX_SAFE_INTEGER);
    if (turns.size > 10_000) turns.delete(turns.keys().next().value as string);
    return turn;
  };
}
