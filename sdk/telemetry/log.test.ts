import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, statusError } from "../status.js";
import { callFields } from "./call-fields.js";
import { createHealth, ServingStatus } from "./health.js";
import { createLog, parseLogLevel } from "./log.js";
import { followLogSignals } from "./log-signals.js";

function capture(level: "trace" | "info" = "info") {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({
    name: "nsmgr-1",
    level,
    destination: { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  return { log, lines };
}

test("lines are JSON with component, level, time, message and fields", () => {
  const { log, lines } = capture();
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  log.child(callFields({ traceparent }, { id: "c1", path: undefined })).info("connected", { mtu: 1450 });
  assert.equal(lines.length, 1);
  const { time, ...rest } = lines[0] ?? {};
  assert.ok(!Number.isNaN(Date.parse(String(time))));
  assert.deepEqual(rest, {
    level: "info",
    component: "nsmgr-1",
    connectionId: "c1",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    mtu: 1450,
    message: "connected",
  });
});

test("row 10.6: the level changes live, for parents and children alike", () => {
  const { log, lines } = capture();
  const child = log.child({ part: "x" });
  child.debug("unseen");
  log.level = "debug";
  child.debug("seen");
  child.level = "error";
  log.warn("unseen");
  assert.deepEqual(
    lines.map((line) => line["message"]),
    ["seen"],
  );
});

test("row 10.6: SIGUSR1 makes the log louder, SIGUSR2 sets it back", async (t) => {
  const { log } = capture();
  const stop = followLogSignals(log);
  // a signal listener alone does not keep the process waiting
  const deadline = setTimeout(() => {}, 10_000);
  t.after(() => {
    stop();
    clearTimeout(deadline);
  });
  for (const [signal, level] of [
    ["SIGUSR1", "trace"],
    ["SIGUSR2", "info"],
  ] as const) {
    const arrived = new Promise((resolve) => process.once(signal, resolve));
    process.kill(process.pid, signal);
    await arrived;
    assert.equal(log.level, level);
  }
});

test("an error is written with code and cause; the stack only when it is not a status", () => {
  const { log, lines } = capture();
  log.error("refused", { error: statusError(Code.ALREADY_EXISTS, "vni 42 is taken", new Error("EEXIST")) });
  const error = lines[0]?.["error"] as Record<string, unknown>;
  assert.equal(error["code"], "ALREADY_EXISTS");
  assert.equal(error["stack"], undefined);
  assert.match(String((error["cause"] as Record<string, unknown>)["stack"]), /EEXIST/);
});

test("an answer of another component is written without the stack of the gRPC library, and once", () => {
  const { log, lines } = capture();
  const answer = Object.assign(new Error("5 NOT_FOUND: no such service"), { code: Code.NOT_FOUND, details: "no such service" });
  log.warn("not connected yet", { error: statusError(Code.NOT_FOUND, "no such service", answer) });
  log.warn("not connected yet", { error: answer });
  assert.deepEqual(lines[0]?.["error"], { message: "no such service", code: "NOT_FOUND" });
  assert.deepEqual(lines[1]?.["error"], { message: "5 NOT_FOUND: no such service", code: "NOT_FOUND" });
});

test("no value makes a line fail or grow without bound", () => {
  const { log, lines } = capture();
  const loop: Record<string, unknown> = { name: "loop" };
  loop["self"] = loop;
  const deep = (depth: number): unknown => (depth === 0 ? "end" : { deep: deep(depth - 1) });
  const cyclic = new Error("cyclic");
  cyclic.cause = cyclic;
  const trap = {
    get field(): never {
      throw new Error("trap");
    },
  };
  log.info("odd", {
    loop,
    deep: deep(50),
    long: "x".repeat(1_000_000),
    many: Array.from({ length: 10_000 }, (_, index) => index),
    vni: 42n,
    when: new Date(0),
    bytes: Buffer.alloc(5000),
    cause: new Error("EEXIST"),
    cyclic,
    trap,
    absent: undefined,
    method() {},
    message: "not this one",
    ["__proto__"]: { polluted: true },
  });
  assert.equal(lines.length, 1);
  const line = lines[0] ?? {};
  assert.equal(line["message"], "odd");
  assert.equal(line["vni"], "42");
  assert.equal(line["when"], "1970-01-01T00:00:00.000Z");
  assert.equal((line["cause"] as Record<string, unknown>)["message"], "EEXIST");
  assert.equal(line["trap"], "[unreadable]");
  assert.ok(!("absent" in line) && !("method" in line));
  assert.equal((line["many"] as unknown[]).length, 100);
  assert.ok(JSON.stringify(line).length < 50_000);
});

test("upstream's words for levels are understood", () => {
  assert.equal(parseLogLevel("WARNING"), "warn");
  assert.equal(parseLogLevel("INFO"), "info");
  assert.equal(parseLogLevel("loud"), undefined);
});

test("row 10.8: the whole serves only while every part does, and watchers see each change", async () => {
  const health = createHealth();
  const controller = new AbortController();
  assert.equal(health.check("dataplane"), ServingStatus.SERVICE_UNKNOWN);
  const seen: ServingStatus[] = [];
  const steps = [
    () => health.set("", true),
    () => health.set("dataplane", false),
    () => health.set("dataplane", true),
    () => controller.abort(),
  ];
  for await (const status of health.watch("", controller.signal)) {
    seen.push(status);
    steps.shift()?.();
  }
  const { SERVING, NOT_SERVING } = ServingStatus;
  assert.deepEqual(seen, [NOT_SERVING, SERVING, NOT_SERVING, SERVING]);
});
