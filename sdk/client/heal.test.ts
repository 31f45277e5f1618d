/**
 * Runs the dialogues of scenarios/*.txt. A file has one event a line and below it what the machine answers:
 *   rules probe=yes give-up=2000      at the top
 *   100 dead                          at 100 ms the probe reports loss
 *     trouble no packet comes back
 *     ask same
 * `REWRITE=1` writes the answers anew: read the difference before committing it.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { defaultBackoff } from "./backoff.js";
import { heal, wakeAtMs } from "./heal.js";
import type { HealAction, HealEvent, HealRules } from "./heal-events.js";
import { type HealState, startHealing } from "./heal-state.js";

const folder = fileURLToPath(new URL("scenarios/", import.meta.url));
const lifeMs = 600_000;

for (const file of readdirSync(folder).sort()) {
  const path = `${folder}${file}`;
  const text = readFileSync(path, "utf8");
  test(text.split("\n")[0]?.replace(/^# /, "") ?? file, () => {
    const played = play(text);
    if (process.env["REWRITE"] === "1") writeFileSync(path, played);
    else assert.equal(played, text);
  });
}

const usual = { backoff: defaultBackoff, verifyMs: 1_000, verdictMs: 300, patienceMs: 6_000 };

test("whatever happens, at most one Request is under way and healing ends with traffic, a reselect or a farewell", () => {
  fc.assert(
    fc.property(fc.array(anyEvent(), { maxLength: 60 }), fc.boolean(), fc.boolean(), (events, checked, beside) => {
      const rules: HealRules = {
        checked,
        beside,
        ...usual,
        settleMs: 5_000,
        giveUpAfterMs: 20_000,
      };
      let state = startHealing({ refreshAtMs: 120_000, expiresAtMs: lifeMs });
      let nowMs = 0;
      let asking = 0;
      const feed = (event: HealEvent): void => {
        if ((event.kind === "granted" || event.kind === "refused") && asking === 0) return;
        if (event.kind === "granted" || event.kind === "refused") asking -= 1;
        const step = heal(state, event, nowMs, 0.5, rules);
        for (const action of step.actions) if (action.kind === "ask") asking += 1;
        assert.ok(asking <= 1, "two Requests at once");
        state = step.state;
      };
      for (const event of events) {
        nowMs += 37;
        feed(event);
        if (!state.ended) assert.ok(state.trouble === undefined || asking === 1 || wakeAtMs(state, rules) < Infinity, "stuck");
      }
      // From here on everything is refused and no packet comes back: it must end.
      feed({ kind: "dead" });
      for (let turn = 0; turn < 200 && !state.ended; turn += 1) {
        if (asking === 1) feed({ kind: "refused", reason: "UNAVAILABLE" });
        if (!checked) feed({ kind: "down" });
        const wake = wakeAtMs(state, rules);
        nowMs = Math.max(nowMs, wake === Number.POSITIVE_INFINITY ? nowMs + 1 : wake);
        feed({ kind: "wake" });
      }
      assert.ok(state.ended, "healing did not end");
    }),
    { numRuns: 500 },
  );
});

test("row 7.8: no sequence of control-plane faults makes it reselect while packets flow", () => {
  const faults: HealEvent["kind"][] = ["down", "deleted", "control-lost", "control-back", "refused", "wake", "refresh-requested"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...faults), { maxLength: 80 }), (kinds) => {
      const rules: HealRules = {
        checked: true,
        beside: true,
        ...usual,
        settleMs: 0,
        giveUpAfterMs: 5_000,
      };
      let state: HealState = startHealing({ refreshAtMs: 120_000, expiresAtMs: lifeMs });
      state = heal(state, { kind: "alive" }, 0, 0.5, rules).state;
      let nowMs = 0;
      for (const kind of kinds) {
        nowMs += 1_000;
        if (kind === "refused" && state.asking === undefined) continue;
        const step = heal(state, eventOf(kind), nowMs, 0.5, rules);
        assert.ok(!step.actions.some((action) => action.kind === "ask" && action.how === "reselect"));
        assert.equal(step.state.ended, false);
        state = step.state;
      }
    }),
  );
});

test("row 7.8: without a probe too, no restart makes it leave a path through which packets come in, nor one of which nobody knows before another stands", () => {
  const faults: HealEvent["kind"][] = ["down", "control-lost", "control-back", "refused", "wake", "refresh-requested"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...faults), { maxLength: 80 }), fc.boolean(), (kinds, heard) => {
      const rules: HealRules = {
        checked: false,
        beside: true,
        ...usual,
        settleMs: 0,
        giveUpAfterMs: heard ? 5_000 : undefined,
      };
      let state: HealState = startHealing({ refreshAtMs: 120_000, expiresAtMs: lifeMs });
      let nowMs = 0;
      for (const kind of kinds) {
        nowMs += 1_000;
        if (heard) state = heal(state, { kind: "passing" }, nowMs, 0.5, rules).state;
        if (kind === "refused" && state.asking === undefined) continue;
        const step = heal(state, eventOf(kind), nowMs, 0.5, rules);
        const asked = step.actions.flatMap((action) => (action.kind === "ask" ? [action.how] : []));
        assert.ok(!asked.includes("reselect"));
        if (heard) assert.ok(!asked.includes("beside"));
        assert.equal(step.state.ended, false);
        state = step.state;
      }
    }),
  );
});

function anyEvent(): fc.Arbitrary<HealEvent> {
  const kinds: HealEvent["kind"][] = [
    ...(["granted", "refused", "down", "deleted", "reselect-requested", "refresh-requested"] as const),
    ...(["control-lost", "control-back", "alive", "dead", "wake", "passing"] as const),
  ];
  return fc.constantFrom(...kinds).map(eventOf);
}

function eventOf(kind: HealEvent["kind"]): HealEvent {
  if (kind === "granted") return { kind, refreshAtMs: 120_000, expiresAtMs: lifeMs };
  if (kind === "refused") return { kind, reason: "UNAVAILABLE" };
  if (kind === "control-back") return { kind, known: false };
  return { kind };
}

/** Plays the events of a scenario and returns its text with the machine's answers. */
function play(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("  "));
  const options = new Map(
    (lines.find((line) => line.startsWith("rules")) ?? "")
      .split(" ")
      .slice(1)
      .map((word) => word.split("=") as [string, string]),
  );
  const giveUp = options.get("give-up");
  const rules: HealRules = {
    checked: options.get("probe") === "yes",
    beside: options.get("beside") === "yes",
    backoff: defaultBackoff,
    verifyMs: 1_200,
    verdictMs: 300,
    patienceMs: 6_000,
    settleMs: 5_000,
    giveUpAfterMs: giveUp === undefined ? undefined : Number(giveUp),
  };
  let state = startHealing({ refreshAtMs: 120_000, expiresAtMs: lifeMs });
  const out: string[] = [];
  for (const line of lines) {
    out.push(line);
    if (line.startsWith("#") || line.startsWith("rules")) continue;
    const [time = "", ...words] = line.split(" ");
    const step = heal(state, parseEvent(words), Number(time), 0.5, rules);
    state = step.state;
    for (const action of step.actions) out.push(`  ${say(action)}`);
    const wake = wakeAtMs(state, rules);
    if (wake !== 120_000) out.push(`  ${wake === Number.POSITIVE_INFINITY ? "(waits)" : `(wakes at ${wake})`}`);
  }
  return `${out.join("\n")}\n`;
}

function parseEvent(words: readonly string[]): HealEvent {
  const [kind = "", detail = "", more = "", last = ""] = words;
  if (kind === "granted") return { kind, refreshAtMs: 120_000, expiresAtMs: lifeMs };
  // "refused NOT_FOUND gone", "refused RESOURCE_EXHAUSTED after 500"
  if (kind === "refused")
    return { kind, reason: detail, gone: more === "gone", ...(more === "after" ? { retryAfterMs: Number(last) } : {}) };
  if (kind === "down") return { kind, broken: detail === "broken" };
  if (kind === "control-back") return { kind, known: detail === "known" };
  return { kind } as HealEvent;
}

function say(action: HealAction): string {
  switch (action.kind) {
    case "ask":
      return `ask ${action.how}`;
    case "healed":
      return `healed by ${action.how} after ${action.tookMs} ms`;
    case "trouble":
    case "gave-up":
      return `${action.kind}: ${action.reason}`;
    case "probe":
      return action.seen ? "probe: seen broken" : "probe";
  }
}
