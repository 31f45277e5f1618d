/**
 * Keeps one granted connection: drives the heal machine (heal.ts) with the clock, the monitor, the probe and the answers
 * to its Requests, and tells what changes.
 */
import { isDeepStrictEqual } from "node:util";
import { MechanismType } from "../api.js";
import { backgroundCall } from "../chain.js";
import type { Disarm } from "../clock.js";
import type { Connection } from "../gen/connection.js";
import { isBroken } from "../monitor/broken.js";
import { Code, codeName, toStatusError } from "../status.js";
import { retryAfterMs } from "../transport/retry-hint.js";
import { addressPairs } from "./address-pairs.js";
import { closeQuietly, interfaceOf } from "./beside.js";
import { Urgency } from "./gate.js";
import { heal, wakeAtMs } from "./heal.js";
import type { Ask, HealAction, HealEvent, HealRules } from "./heal-events.js";
import { type HealState, startHealing } from "./heal-state.js";
import type { KeepOptions, Kept } from "./keep-options.js";
import { checkFor, createProbe, echoLiveness, type LivenessReport } from "./liveness.js";
import { createMover, type Mover } from "./move.js";
import { askedBy, isBygone, type Report } from "./node-manager.js";
import { createOwnInterface } from "./own-interface.js";
import { expiryMs, refreshAtMs } from "./refresh.js";
import { adopt, isElsewhere, reselectRequest, sameRequest } from "./requests.js";
import { createTrust } from "./trust.js";

/** A try to heal is cut short: somebody waits for packets. Less for the same endpoint when none comes back, more when tries fail. */
const healTimeoutMs = 3_000;
const deadTimeoutMs = 250;

/** @param adopted  the connection was made by an earlier process: it is refreshed at once */
export function keep(first: Connection, options: KeepOptions, adopted: boolean): Kept {
  const { clock, log, changes, handler } = options;
  const life = new AbortController();
  let connection = first;
  let state: HealState = startHealing({
    refreshAtMs: adopted ? clock.nowMs() : refreshAtMs(first, clock.nowMs(), Math.random()),
    expiresAtMs: expiryMs(first) ?? Number.POSITIVE_INFINITY,
  });
  let grantedMs = clock.nowMs();
  let disarm: Disarm = () => {};
  let asked: Promise<void> = Promise.resolve();
  let release: Promise<void> | undefined;
  const trust = createTrust();
  let refusedWith: Code | undefined; // in this trouble, last
  let settleClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    settleClosed = resolve;
  });
  const mover = moverFor(first, options, life.signal, () => feed({ kind: "refresh-requested" }));
  const own = createOwnInterface({ netnsUrl: options.netnsUrl, onLoss: lostLink, onPassing: () => feed({ kind: "passing" }) });
  const probe = createProbe({
    check: options.liveness || echoLiveness,
    netnsUrl: options.netnsUrl,
    intervalMs: options.livenessIntervalMs,
    timeoutMs: options.livenessTimeoutMs,
    report: probed,
  });

  function applies(): boolean {
    return checkFor(connection, options.liveness) !== undefined;
  }

  function checked(): boolean {
    return applies() && !trust.cannotTell;
  }

  function rules(): HealRules {
    return { ...options.rules, checked: checked(), beside: interfaceOf(options.wish.mechanism) !== undefined };
  }

  function feed(event: HealEvent): void {
    if (state.ended) return;
    const step = heal(state, event, clock.nowMs(), Math.random(), rules());
    state = step.state;
    for (const action of step.actions) perform(action);
    own.listen(!checked() && state.trouble !== undefined && !state.ended);
    disarm();
    const wake = wakeAtMs(state, rules());
    if (wake !== Number.POSITIVE_INFINITY) disarm = clock.at(wake, () => feed({ kind: "wake" }));
  }

  function perform(action: HealAction): void {
    switch (action.kind) {
      case "ask":
        asked = action.how === "beside" ? move() : ask(action.how);
        break;
      case "probe":
        probe.hurry(action.seen);
        break;
      case "trouble":
        log.warn("connection in trouble", { connectionId: connection.id, reason: action.reason });
        changes.tell({ ...action, connection });
        break;
      case "healed":
        refusedWith = undefined;
        log.info("connection healed", { connectionId: connection.id, how: action.how, tookMs: action.tookMs });
        changes.tell({ ...action, connection });
        break;
      case "gave-up":
        log.error("healing gave up", { connectionId: connection.id, reason: action.reason });
        changes.tell({ ...action, connection });
        release ??= letGo();
        break;
    }
  }

  async function ask(how: "same" | "reselect"): Promise<void> {
    const inTrouble = state.trouble !== undefined;
    if (how === "reselect" && state.data === "dead") probe.stop(); // no packet comes back by what is given up with it
    const hurried = how === "same" && state.data === "dead" ? deadTimeoutMs : healTimeoutMs * 2 ** Math.min(state.failures, 3);
    const patientMs = Math.max(healTimeoutMs, (state.trouble?.patientUntilMs ?? Number.POSITIVE_INFINITY) - clock.nowMs());
    const limitMs = inTrouble ? Math.min(hurried, patientMs, options.requestTimeoutMs) : options.requestTimeoutMs;
    const { wish } = mover;
    const wanted = mover.wanted(connection);
    const attempt = (): Promise<Connection> => {
      log.debug("asking", { connectionId: wish.id, how });
      const request = how === "same" ? sameRequest(wish, wanted) : reselectRequest(wish, connection);
      const signal = AbortSignal.any([life.signal, AbortSignal.timeout(limitMs)]);
      return handler.request(request, { ...backgroundCall(signal), deadlineMs: Date.now() + limitMs });
    };
    const inDoubt = state.data === "dead" || state.trouble?.doubted === true;
    const inVain = how === "same" && inDoubt ? connection.network_service_endpoint_name : undefined;
    try {
      const answer = await options.gate.run(inTrouble ? Urgency.HEAL : Urgency.REFRESH, life.signal, () =>
        inVain === undefined ? attempt() : options.silence.run(inVain, attempt),
      );
      granted(answer, how);
    } catch (thrown) {
      const renames = interfaceOf(wanted.mechanism) !== interfaceOf(connection.mechanism);
      if (renames && toStatusError(thrown).code === Code.ALREADY_EXISTS) mover.postponeName();
      refused(thrown, how);
    }
  }

  function refused(thrown: unknown, how: Ask): void {
    const error = toStatusError(thrown);
    // The reason is told once; further tries end the same way for as long as nothing changes.
    const isNews = state.trouble !== undefined && error.code !== refusedWith;
    if (!life.signal.aborted) log[isNews ? "warn" : "debug"]("request refused", { connectionId: connection.id, how, error });
    if (isNews) refusedWith = error.code;
    if (error.code === Code.ABORTED && error.details.includes("newer incarnation")) yieldTo(error.details);
    else {
      const reason = `${codeName(error.code)}: ${error.details}`;
      feed({ kind: "refused", reason, gone: error.code === Code.NOT_FOUND, retryAfterMs: retryAfterMs(error) });
    }
  }

  /** Another process of this client has the connection now: nothing of it is ours to close. */
  function yieldTo(reason: string): void {
    log.error("the connection belongs to a newer incarnation of this client", { connectionId: connection.id, reason });
    changes.tell({ kind: "gave-up", reason, connection });
    void leave();
  }

  function leave(): Promise<void> {
    feed({ kind: "close" });
    release ??= stopKeeping().then(() => {
      changes.end();
      settleClosed();
    });
    return release;
  }

  /** Makes a second connection, and puts it in the place of the first one once packets pass. */
  async function move(): Promise<void> {
    try {
      const answer = await options.gate.run(Urgency.HEAL, life.signal, () => mover.make());
      mover.leave(connection);
      granted(answer, "beside");
    } catch (thrown) {
      refused(thrown, "beside");
    }
  }

  function granted(answer: Connection, how: Ask): void {
    const before = connection;
    connection = answer;
    grantedMs = clock.nowMs();
    trust.granted();
    const samePairs = isDeepStrictEqual(addressPairs(before), addressPairs(answer));
    if (how !== "same" || state.data === "dead" || !samePairs) watchData();
    if (!isDeepStrictEqual(before.context, answer.context)) changes.tell({ kind: "updated", connection });
    feed({
      kind: "granted",
      refreshAtMs: refreshAtMs(answer, clock.nowMs(), Math.random()),
      expiresAtMs: expiryMs(answer) ?? Number.POSITIVE_INFINITY,
    });
    // The old path went while this answer was under way.
    if (how === "same" && interfaceOf(mover.wanted(answer).mechanism) !== interfaceOf(answer.mechanism))
      feed({ kind: "refresh-requested" });
  }

  function watchData(): void {
    trust.watched();
    if (life.signal.aborted) return;
    own.watch(connection.mechanism?.type === MechanismType.KERNEL ? interfaceOf(connection.mechanism) : undefined);
    if (applies()) probe.watch(connection);
    else probe.stop();
  }

  /** The kernel tells of a lost interface before any probe can. A check of the author's own has the last word. */
  function lostLink(): void {
    if (typeof options.liveness !== "function" || !checked()) feed({ kind: "dead" });
  }

  function probed(report: LivenessReport, problem?: unknown): void {
    const verdict = trust.judge(report);
    if (verdict === "trust-lost") {
      const why = problem ?? "no echo was ever answered: something on the way filters ICMP, or the service does not answer it";
      log.warn("the data path cannot be probed; the reports of the control plane must do", {
        connectionId: connection.id,
        error: why,
      });
    }
    if (verdict === "alive" && state.data === "alive" && state.trouble === undefined && checked()) return; // what most echoes say
    // A verification that is waited for would otherwise wait for ever.
    if (verdict !== undefined) feed({ kind: verdict === "dead" ? verdict : "alive" });
  }

  function hear(id: string, report: Report): void {
    if (id !== mover.wish.id || isBygone(report, connection)) return;
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
      feed(asks === "down" ? { kind: asks, broken: isBroken(seen) } : { kind: asks });
      if (asks === "down" && own.lives() === false) lostLink();
      return;
    }
    // Our own answer says the same later, and more surely.
    const now = state.asking === undefined && !state.ended ? adopt(mover.wish, seen) : undefined;
    if (now === undefined) return;
    const elsewhere = isElsewhere(now, connection, clock.nowMs() - grantedMs);
    if (!elsewhere && isDeepStrictEqual(now.context, connection.context)) return;
    // Somebody else has asked under our id (an older process of ours): to ask for what we had would move it back and cut it.
    connection = elsewhere ? now : { ...connection, context: now.context };
    watchData();
    changes.tell({ kind: "updated", connection });
    if (elsewhere) feed({ kind: "refresh-requested" });
  }

  async function stopKeeping(): Promise<void> {
    disarm();
    probe.stop();
    own.close();
    life.abort();
    await asked;
    await mover.idle();
  }

  async function letGo(): Promise<void> {
    await stopKeeping();
    const error = await closeQuietly(handler, connection);
    if (error !== undefined)
      log.warn("close failed; the hops free the connection when it expires", { connectionId: connection.id, error });
    changes.end();
    settleClosed();
  }

  watchData();
  feed(adopted ? { kind: "wake" } : { kind: "control-back", known: true });
  return {
    get connection() {
      return connection;
    },
    hear,
    closed,
    leave,
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

function moverFor(first: Connection, options: KeepOptions, signal: AbortSignal, onGone: () => void): Mover {
  const { livenessIntervalMs: intervalMs, rules, liveness } = options;
  const check = (made: Connection) => checkFor(made, liveness);
  return createMover({ ...options, intervalMs, verifyMs: rules.verifyMs, check, signal, onGone }, first.id);
}
