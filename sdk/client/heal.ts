/**
 * What a client does to keep one connection, as a state machine: events in, actions out; no clock, no socket (pure).
 *
 * Rules
 * - A living data path is never given up for a fault of the control plane: only the same connection is asked for again.
 * - A dead data path: the same endpoint first, then any. What was granted counts only when the probe sees packets.
 * - When the control plane wants it elsewhere while packets flow, the new path is made beside the old one.
 * - Without a probe a path is dead when somebody has seen it: its interface is gone, the monitor says DELETE or that a hop has found
 *   it broken. A mere DOWN (a restart on the way) is answered with patience, for as long as packets come in without end; if then
 *   nobody knows, another path is made beside what may be alive.
 * - A report that the connection is down makes the probe look again; the first try apart, nothing is asked for until it has.
 * - Tries back off with jitter; after `giveUpAfterMs` without a living data path it ends and says so.
 * Dialogues that show each rule: scenarios/*.txt.
 */
import { backoffMs } from "./backoff.js";
import type { Ask, HealAction, HealEvent, HealRules } from "./heal-events.js";
import { type Cause, type HealState, newTrouble, type Trouble } from "./heal-state.js";

export interface HealStep {
  readonly state: HealState;
  readonly actions: readonly HealAction[];
}

/** When the machine wants a `wake`, in epoch milliseconds; Infinity = not at all. */
export function wakeAtMs(state: HealState, rules: HealRules): number {
  if (state.ended) return Number.POSITIVE_INFINITY;
  const trouble = state.trouble;
  if (trouble === undefined) return state.asking === undefined ? state.refreshAtMs : Number.POSITIVE_INFINITY;
  const refreshMs = mayRefresh(trouble) ? state.refreshAtMs : Number.POSITIVE_INFINITY;
  const own = Math.min(trouble.askAtMs ?? Number.POSITIVE_INFINITY, trouble.verifyByMs ?? Number.POSITIVE_INFINITY, refreshMs);
  return Math.min(state.asking === undefined ? own : Number.POSITIVE_INFINITY, giveUpAtMs(state, rules));
}

/**
 * One step.
 * @param random  0 ≤ random < 1, spreads the pauses
 */
export function heal(state: HealState, event: HealEvent, nowMs: number, random: number, rules: HealRules): HealStep {
  if (state.ended) return { state, actions: [] };
  const at: At = { nowMs, random, rules };
  switch (event.kind) {
    case "granted":
      return granted({ ...state, refreshAtMs: event.refreshAtMs, expiresAtMs: event.expiresAtMs }, at);
    case "refused":
      return refused(state, event, at);
    case "down":
      return reported(state, "the node manager reports the connection as down", event.broken === true, at);
    case "passing":
      return passing(state, at);
    case "deleted":
      return deleted(state, at);
    case "reselect-requested":
      return ordered(state, "the node manager asks for another endpoint", at);
    case "refresh-requested":
      return state.trouble === undefined && state.asking === undefined ? ask(state, "same") : stay(state);
    case "control-lost":
      return controlLost({ ...state, control: "lost" }, at);
    case "control-back":
      return controlBack({ ...state, control: "watched" }, event.known, at);
    case "alive":
      return alive({ ...state, data: "alive" }, at);
    case "dead":
      return dead(state, at);
    case "wake":
      return woken(state, at);
    case "close":
      return stay({ ...state, ended: true, trouble: undefined });
  }
}

/** How much of the patience is left to a connection of which a hop says that something is not there any more. */
const patienceWhenGone = 1 / 3;

interface At {
  readonly nowMs: number;
  readonly random: number;
  readonly rules: HealRules;
}

const stay = (state: HealState): HealStep => ({ state, actions: [] });

function granted(before: HealState, at: At): HealStep {
  const how = before.asking ?? "same";
  const state: HealState = { ...before, asking: undefined };
  const trouble = state.trouble;
  if (trouble === undefined) return stay({ ...state, failures: 0 });
  // Who grants it has seen packets on the new path already.
  if (how === "beside") return healed(state, how, at);
  if (trouble.cause === "order" && how === "same") return ask(state, choose(state, at));
  if (!at.rules.checked) return healed(state, how, at);
  if (how === "same" && state.data !== "dead") return healed(state, how, at);
  const verifying: Trouble = { ...trouble, verifyByMs: at.nowMs + at.rules.verifyMs, askAtMs: undefined };
  return stay({ ...state, data: how === "reselect" ? "unknown" : state.data, trouble: verifying });
}

function refused(before: HealState, event: Refusal, at: At): HealStep {
  const state: HealState = { ...before, asking: undefined };
  if (state.trouble !== undefined) return tryNext({ ...state, trouble: heard(state.trouble, event, at) }, at, event.retryAfterMs);
  const trouble = newTrouble("refresh", `refresh refused: ${event.reason}`, at.nowMs, "same");
  const next = tryNext({ ...state, trouble }, at, event.retryAfterMs);
  return { state: next.state, actions: [{ kind: "trouble", reason: trouble.reason }, ...next.actions] };
}

type Refusal = Extract<HealEvent, { kind: "refused" }>;

/** What a refusal says about the trouble. */
function heard(trouble: Trouble, { gone, retryAfterMs }: Refusal, at: At): Trouble {
  // It was not tried; if it was for the same, that is still due.
  if (retryAfterMs !== undefined) return { ...trouble, asked: trouble.asked === "same" ? undefined : trouble.asked };
  if (gone !== true || trouble.patientUntilMs === undefined) return trouble;
  return { ...trouble, patientUntilMs: Math.min(trouble.patientUntilMs, at.nowMs + at.rules.patienceMs * patienceWhenGone) };
}

/** After a failed try: on to another endpoint if that is allowed, else again after a pause. */
function tryNext(state: HealState, at: At, retryAfterMs = 0): HealStep {
  const trouble = state.trouble;
  if (trouble === undefined) return stay(state);
  const failures = state.failures + 1;
  const next = choose(state, at);
  const goesOn = next === "reselect" ? trouble.asked !== "reselect" : next === "beside" && trouble.cause !== "order";
  if (goesOn && retryAfterMs === 0) return ask({ ...state, failures }, next);
  const pauseMs = Math.max(backoffMs(at.rules.backoff, failures, at.random), retryAfterMs);
  // Another Request for the same would be under way when the verdict comes, and what that asks for would wait for it.
  const askAtMs = at.nowMs + (at.rules.checked && trouble.doubted ? Math.max(pauseMs, at.rules.verdictMs) : pauseMs);
  return stay({ ...state, failures, trouble: { ...trouble, askAtMs, verifyByMs: undefined } });
}

/** Reselecting is right once nothing is left to lose and our node manager is there to hear of it. */
function choose(state: HealState, at: At): Ask {
  const trouble = state.trouble;
  if (trouble?.released === true) return "reselect";
  if (trouble?.cause === "order") return at.rules.beside && state.data !== "dead" ? "beside" : "reselect";
  const lost = state.data === "dead" || at.nowMs >= state.expiresAtMs;
  if (trouble?.asked === undefined || state.control !== "watched") return "same";
  if (lost) return "reselect";
  if (at.rules.checked || at.nowMs < (trouble.patientUntilMs ?? Number.POSITIVE_INFINITY)) return "same";
  if (!at.rules.beside) return "reselect";
  return trouble.asked === "beside" ? "same" : "beside";
}

/** @param broken  somebody has seen that packets do not pass: who has no probe believes it */
function reported(before: HealState, reason: string, broken: boolean, at: At): HealStep {
  const { checked } = at.rules;
  const state: HealState = checked || !broken ? before : { ...before, data: "dead" };
  const next = state.trouble === undefined ? begin(state, "report", reason, at) : hurry(state, at);
  if (checked) return { state: next.state, actions: [{ kind: "probe", seen: broken }, ...next.actions] };
  const { trouble } = next.state;
  return trouble === undefined ? next : { ...next, state: { ...next.state, trouble: patient(trouble, at) } };
}

function patient(trouble: Trouble, at: At): Trouble {
  return { ...trouble, patientUntilMs: trouble.patientUntilMs ?? at.nowMs + at.rules.patienceMs };
}

/** Not for a path that somebody has seen to be dead: what comes in may be the last of it. */
function passing(state: HealState, at: At): HealStep {
  const { trouble, data } = state;
  if (at.rules.checked || trouble === undefined || data === "dead") return stay(state);
  const patientUntilMs = trouble.patientUntilMs && at.nowMs + at.rules.patienceMs;
  return stay({ ...state, trouble: { ...trouble, lostSinceMs: at.nowMs, patientUntilMs } });
}

function deleted(state: HealState, at: At): HealStep {
  if (state.trouble === undefined && state.asking === undefined && at.nowMs - state.healedAtMs < at.rules.settleMs) {
    return ordered({ ...state, data: "dead" }, "the node manager has closed the connection again", at);
  }
  return reported(state, "the node manager has closed the connection", true, at);
}

/** The control plane asks for another endpoint: the one case in which a living data path is left. */
function ordered(state: HealState, reason: string, at: At): HealStep {
  if (state.trouble?.released === true || state.trouble?.cause === "order") return stay(state);
  const trouble: Trouble = { ...(state.trouble ?? newTrouble("order", reason, at.nowMs)), cause: "order" };
  const tell: HealAction[] = state.trouble === undefined ? [{ kind: "trouble", reason }] : [];
  if (state.asking !== undefined) return { state: { ...state, trouble }, actions: tell };
  const asked: HealState = { ...state, trouble };
  const next = ask(asked, choose(asked, at));
  return { state: next.state, actions: [...tell, ...next.actions] };
}

function controlLost(state: HealState, at: At): HealStep {
  if (state.trouble !== undefined || state.asking !== undefined) return stay(state);
  const reason = "the node manager is out of reach";
  const askAtMs = at.nowMs + backoffMs(at.rules.backoff, 1, at.random);
  return {
    state: { ...state, trouble: { ...newTrouble("control", reason, at.nowMs), askAtMs } },
    actions: [{ kind: "trouble", reason }],
  };
}

function controlBack(state: HealState, known: boolean, at: At): HealStep {
  if (state.asking !== undefined) return stay(state);
  const trouble = state.trouble;
  if (trouble === undefined) {
    return known ? stay(state) : begin(state, "control", "the node manager does not know the connection", at);
  }
  if (trouble.verifyByMs !== undefined) return stay(state);
  if (known && trouble.cause === "control" && state.data !== "dead") return healed(state, "itself", at);
  // What was refused while it was out of reach says nothing about the endpoint: the same one first, once more.
  const patientUntilMs = trouble.patientUntilMs && at.nowMs + at.rules.patienceMs;
  const fresh: HealState = { ...state, failures: 0, trouble: { ...trouble, asked: undefined, patientUntilMs } };
  return ask(fresh, choose(fresh, at));
}

function alive(heard: HealState, at: At): HealStep {
  // Without a probe it says only that nothing more is to be waited for.
  const before = at.rules.checked ? heard : unprobed(heard, at);
  const state = before.trouble?.doubted === true ? trusted(before, before.trouble, at) : before;
  const trouble = state.trouble;
  if (trouble === undefined || state.asking !== undefined) return stay(state);
  if (trouble.verifyByMs !== undefined) return healed(state, trouble.asked ?? "same", at);
  return trouble.cause === "data" && !trouble.released ? healed(state, "itself", at) : stay(state);
}

function unprobed(state: HealState, at: At): HealState {
  const trouble = state.trouble?.doubted === true ? patient(state.trouble, at) : state.trouble;
  return { ...state, data: "unknown", trouble };
}

/** Packets pass in spite of the report: a try need not wait for the verdict any longer. */
function trusted(state: HealState, trouble: Trouble, at: At): HealState {
  const pausedMs = at.nowMs + backoffMs(at.rules.backoff, state.failures, at.random);
  const askAtMs = trouble.askAtMs && Math.min(trouble.askAtMs, pausedMs);
  return { ...state, trouble: { ...trouble, doubted: false, askAtMs } };
}

function dead(before: HealState, at: At): HealStep {
  const trouble = before.trouble && before.data === "alive" ? { ...before.trouble, lostSinceMs: at.nowMs } : before.trouble;
  const state: HealState = { ...before, data: "dead", trouble };
  if (state.trouble === undefined) return begin(state, "data", "no packet comes back", at);
  if (state.asking === undefined && state.trouble.verifyByMs !== undefined) return tryNext(state, at);
  return hurry(state, at);
}

/** New evidence during a pause: if another endpoint may be asked for now, do not wait. */
function hurry(state: HealState, at: At): HealStep {
  const trouble = state.trouble;
  if (trouble?.askAtMs === undefined || state.asking !== undefined || trouble.released) return stay(state);
  return choose(state, at) === "reselect" ? ask(state, "reselect") : stay(state);
}

function woken(state: HealState, at: At): HealStep {
  const trouble = state.trouble;
  if (trouble === undefined) {
    return state.asking === undefined && at.nowMs >= state.refreshAtMs ? ask(state, "same") : stay(state);
  }
  if (at.nowMs >= giveUpAtMs(state, at.rules)) {
    const reason = `${trouble.reason}; not healed within ${at.rules.giveUpAfterMs} ms`;
    return { state: { ...state, ended: true }, actions: [{ kind: "gave-up", reason }] };
  }
  if (state.asking !== undefined) return stay(state);
  if (trouble.verifyByMs !== undefined) return at.nowMs >= trouble.verifyByMs ? tryNext(state, at) : stay(state);
  if (mayRefresh(trouble) && at.nowMs >= state.refreshAtMs) return ask(state, "same");
  return trouble.askAtMs !== undefined && at.nowMs >= trouble.askAtMs ? ask(state, choose(state, at)) : stay(state);
}

/** A move that waits for another endpoint must not outlive the connection. */
function mayRefresh({ cause, released, asked }: Trouble): boolean {
  return cause === "order" && !released && asked !== "same";
}

/** Faults in a row are answered at a bounded rate: the pause counts from the last healing, so that a later fault need not wait at all. */
function begin(before: HealState, cause: Cause, reason: string, at: At): HealStep {
  const relapses = at.nowMs - before.healedAtMs < at.rules.settleMs ? before.relapses + 1 : 0;
  const trouble = newTrouble(cause, reason, at.nowMs, before.asking);
  const state: HealState = { ...before, relapses, failures: 0, trouble };
  const tell: HealAction = { kind: "trouble", reason };
  if (state.asking !== undefined) return { state, actions: [tell] };
  const askAtMs = relapses === 0 ? at.nowMs : before.healedAtMs + backoffMs(at.rules.backoff, relapses, at.random);
  if (askAtMs > at.nowMs) return { state: { ...state, failures: relapses, trouble: { ...trouble, askAtMs } }, actions: [tell] };
  const next = ask(state, "same");
  return { state: next.state, actions: [tell, ...next.actions] };
}

function ask(state: HealState, how: Ask): HealStep {
  const old = state.trouble;
  const released = old?.released === true || how === "reselect";
  const trouble = old && { ...old, asked: how, released, askAtMs: undefined, verifyByMs: undefined };
  return { state: { ...state, asking: how, trouble }, actions: [{ kind: "ask", how }] };
}

function healed(state: HealState, how: Ask | "itself", at: At): HealStep {
  const tookMs = at.nowMs - (state.trouble?.sinceMs ?? at.nowMs);
  const data = at.rules.checked ? state.data : "unknown";
  return {
    state: { ...state, data, trouble: undefined, healedAtMs: at.nowMs },
    actions: [{ kind: "healed", how, tookMs }],
  };
}

function giveUpAtMs(state: HealState, rules: HealRules): number {
  const trouble = state.trouble;
  if (trouble === undefined || rules.giveUpAfterMs === undefined) return Number.POSITIVE_INFINITY;
  // A move for which there is no place yet ends nothing.
  if (state.data === "alive" || (trouble.cause === "order" && !trouble.released)) return Number.POSITIVE_INFINITY;
  return trouble.lostSinceMs + rules.giveUpAfterMs;
}
