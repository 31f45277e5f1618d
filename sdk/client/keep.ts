/**
 * Keeps one granted connection: drives the heal machine (heal.ts) with the clock, the monitor, the probe and the answers
 * to its Requests, and tells what changes.
 */
import { isDeepStrictEqual } from "node:util";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, type Handler } from "../chain.js";
import type { Clock, Disarm } from "../clock.js";
import type { Connection } from "../gen/connection.js";
import { codeName, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { addressPairs } from "./address-pairs.js";
import type { Changes } from "./changes.js";
import { type Gate, Urgency } from "./gate.js";
import { type HealState, heal, startHealing, wakeAtMs } from "./heal.js";
import type { Ask, HealAction, HealEvent, HealRules } from "./heal-events.js";
import { createProbe, echoApplies, echoLiveness, type LivenessCheck, type LivenessReport } from "./liveness.js";
import { askedBy, type Report } from "./node-manager.js";
import { expiryMs, refreshAtMs } from "./refresh.js";
import { adopt, reselectRequest, sameRequest, type Wish } from "./requests.js";

export interface KeepOptions {
  readonly wish: Wish;
  readonly handler: Handler<ConnectionApi>;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly log: Log;
  readonly changes: Changes;
  /** undefined: ICMP echo where it applies; false: none. */
  readonly liveness: LivenessCheck | false | undefined;
  readonly livenessIntervalMs: number;
  readonly livenessTimeoutMs: number;
  readonly netnsUrl: string | undefined;
  readonly rules: Omit<HealRules, "checked">;
  readonly requestTimeoutMs: number;
}

export interface Kept {
  readonly connection: Connection;
  /** What the monitor says. */
  hear(report: Report): void;
  /** Gives the connection back. Safe to call again. */
  close(): Promise<void>;
  /** Ends the keeping and leaves the connection as it is, until it expires or another process takes it over. */
  leave(): Promise<void>;
  /** Resolves when it is no longer kept: by `close`, by `leave` or because healing gave up. */
  readonly closed: Promise<void>;
}

/** A try to heal is cut short: somebody is waiting for packets. */
const healTimeoutMs = 3_000;
const closeTimeoutMs = 5_000;
/**
 * So many grants are believed to be dead of a connection that was never seen alive: enough to try the same endpoint and
 * another one. After that it is the probe that does not work, and healing would only cut what may well carry traffic.
 */
const trustUnheard = 2;

/** @param adopted  the connection was made by an earlier process: it is refreshed at once */
export function keep(first: Connection, options: KeepOptions, adopted: boolean): Kept {
  const { clock, wish, log, changes } = options;
  const life = new AbortController();
  let connection = first;
  let state: HealState = startHealing({
    refreshAtMs: adopted ? clock.nowMs() : refreshAtMs(first, clock.nowMs(), Math.random()),
    expiresAtMs: expiryMs(first) ?? Number.POSITIVE_INFINITY,
  });
  let disarm: Disarm = () => {};
  let asked: Promise<void> = Promise.resolve();
  let release: Promise<void> | undefined;
  let cannotTell = false;
  let everAlive = false;
  let deadUnheard = 0;
  /** Further verdicts about the same grant, as they come in while a Request is under way, are no news. */
  let grantJudged = false;
  let settleClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    settleClosed = resolve;
  });
  const probe = createProbe({
    check: options.liveness || echoLiveness,
    netnsUrl: options.netnsUrl,
    intervalMs: options.livenessIntervalMs,
    timeoutMs: options.livenessTimeoutMs,
    report: probed,
  });

  function applies(): boolean {
    return options.liveness !== false && (options.liveness !== undefined || echoApplies(connection));
  }

  function checked(): boolean {
    return applies() && !cannotTell;
  }

  function feed(event: HealEvent): void {
    if (state.ended) return;
    const step = heal(state, event, clock.nowMs(), Math.random(), { ...options.rules, checked: checked() });
    state = step.state;
    for (const action of step.actions) perform(action);
    disarm();
    const wake = wakeAtMs(state, { ...options.rules, checked: checked() });
    if (wake !== Number.POSITIVE_INFINITY) disarm = clock.at(wake, () => feed({ kind: "wake" }));
  }

  function perform(action: HealAction): void {
    switch (action.kind) {
      case "ask":
        asked = ask(action.how);
        break;
      case "probe":
        probe.hurry();
        break;
      case "trouble":
        log.warn("connection in trouble", { connectionId: wish.id, reason: action.reason });
        changes.tell({ ...action, connection });
        break;
      case "healed":
        log.info("connection healed", { connectionId: wish.id, how: action.how, tookMs: action.tookMs });
        changes.tell({ ...action, connection });
        break;
      case "gave-up":
        log.error("healing gave up", { connectionId: wish.id, reason: action.reason });
        changes.tell({ ...action, connection });
        release ??= letGo();
        break;
    }
  }

  async function ask(how: Ask): Promise<void> {
    const inTrouble = state.trouble !== undefined;
    const limitMs = inTrouble ? Math.min(healTimeoutMs, options.requestTimeoutMs) : options.requestTimeoutMs;
    const request = how === "same" ? sameRequest(wish, connection) : reselectRequest(wish, connection);
    try {
      const answer = await options.gate.run(inTrouble ? Urgency.HEAL : Urgency.REFRESH, life.signal, () => {
        const signal = AbortSignal.any([life.signal, AbortSignal.timeout(limitMs)]);
        return options.handler.request(request, { ...backgroundCall(signal), deadlineMs: Date.now() + limitMs });
      });
      granted(answer, how);
    } catch (thrown) {
      const error = toStatusError(thrown);
      if (!life.signal.aborted) log.debug("request refused", { connectionId: wish.id, how, error });
      feed({ kind: "refused", reason: `${codeName(error.code)}: ${error.details}` });
    }
  }

  function granted(answer: Connection, how: Ask): void {
    const before = connection;
    connection = answer;
    grantJudged = false;
    const samePairs = isDeepStrictEqual(addressPairs(before), addressPairs(answer));
    if (how === "reselect" || state.data === "dead" || !samePairs) watchData();
    if (!isDeepStrictEqual(before.context, answer.context)) changes.tell({ kind: "updated", connection });
    feed({
      kind: "granted",
      refreshAtMs: refreshAtMs(answer, clock.nowMs(), Math.random()),
      expiresAtMs: expiryMs(answer) ?? Number.POSITIVE_INFINITY,
    });
  }

  function watchData(): void {
    if (deadUnheard <= trustUnheard) cannotTell = false;
    if (life.signal.aborted) return;
    if (applies()) probe.watch(connection);
    else probe.stop();
  }

  function probed(report: LivenessReport, problem?: unknown): void {
    if (report === "alive") {
      everAlive = true;
      cannotTell = false;
    } else if (report === "dead" && !everAlive && !grantJudged) {
      deadUnheard += 1;
      grantJudged = true;
    }
    if (report !== "cannot-tell" && (everAlive || deadUnheard <= trustUnheard)) {
      feed({ kind: report });
      return;
    }
    if (cannotTell) return;
    cannotTell = true;
    const why = problem ?? "no echo was ever answered: something on the way filters ICMP, or the service does not answer it";
    log.warn("the data path cannot be probed; the reports of the control plane must do", { connectionId: wish.id, error: why });
    // A verification that is waited for would otherwise wait for ever.
    feed({ kind: "alive" });
  }

  function hear(report: Report): void {
    switch (report.kind) {
      case "control-lost":
      case "deleted":
        feed({ kind: report.kind });
        break;
      case "control-back":
        feed({ kind: "control-back", known: report.connection !== undefined });
        if (report.connection !== undefined) shown(report.connection);
        break;
      case "shown":
        shown(report.connection);
        break;
    }
  }

  function shown(seen: Connection): void {
    const asks = askedBy(seen);
    if (asks !== undefined) {
      feed({ kind: asks });
      return;
    }
    // Our own answer says the same later, and more surely.
    const now = state.asking === undefined && !state.ended ? adopt(wish, seen) : undefined;
    if (now === undefined || isDeepStrictEqual(now.context, connection.context)) return;
    connection = { ...connection, context: now.context };
    watchData();
    changes.tell({ kind: "updated", connection });
  }

  async function stopKeeping(): Promise<void> {
    disarm();
    probe.stop();
    life.abort();
    await asked;
  }

  async function letGo(): Promise<void> {
    await stopKeeping();
    const signal = AbortSignal.timeout(closeTimeoutMs);
    try {
      await options.handler.close(connection, { ...backgroundCall(signal), deadlineMs: Date.now() + closeTimeoutMs });
    } catch (error) {
      log.warn("close failed; the hops free the connection when it expires", { connectionId: wish.id, error });
    }
    changes.end();
    settleClosed();
  }

  watchData();
  if (adopted) feed({ kind: "wake" });
  else feed({ kind: "control-back", known: true });
  return {
    get connection() {
      return connection;
    },
    hear,
    closed,
    leave() {
      feed({ kind: "close" });
      release ??= stopKeeping().then(() => {
        changes.end();
        settleClosed();
      });
      return release;
    },
    close() {
      if (release === undefined) {
        feed({ kind: "close" });
        changes.tell({ kind: "closed", connection });
        release = letGo();
      }
      return release;
    },
  };
}
