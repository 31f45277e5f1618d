import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../gen/connection.js";
import { until } from "../testing/until.js";
import { createProbe, echoApplies, echoLiveness, type LivenessCheck } from "./liveness.js";

const connection = Connection.fromPartial({
  id: "c",
  mechanism: { cls: "LOCAL", type: "KERNEL" },
  context: { ip_context: { src_ip_addrs: ["127.0.0.1/32"], dst_ip_addrs: ["127.0.0.1/32"] } },
});

test("row 7.14: reports follow the check; an older round no longer counts", async () => {
  const reports: string[] = [];
  const checks: ((alive: boolean) => void)[] = [];
  const check: LivenessCheck = () => new Promise((resolve) => checks.push(resolve));
  const probe = createProbe({
    check,
    netnsUrl: undefined,
    intervalMs: 1,
    timeoutMs: 10,
    report: (report) => reports.push(report),
  });
  probe.watch(connection);
  checks[0]?.(true);
  await until("the second check", () => checks.length === 2);
  probe.watch(connection);
  checks[1]?.(false);
  checks[2]?.(true);
  await until("the fourth check", () => checks.length === 4);
  probe.stop();
  checks[3]?.(false);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(reports, ["alive", "alive"]);
});

test("row 7.14: a check that cannot tell is reported once and not repeated", async () => {
  const reports: unknown[] = [];
  const probe = createProbe({
    check: () => Promise.reject(new Error("not allowed")),
    netnsUrl: undefined,
    intervalMs: 1,
    timeoutMs: 10,
    report: (report, error) => reports.push([report, (error as Error).message]),
  });
  probe.watch(connection);
  await until("the report", () => reports.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(reports, [["cannot-tell", "not allowed"]]);
});

test("hurry cuts the pause short and asks for a quick verdict, once", async () => {
  const limits: number[] = [];
  const check: LivenessCheck = async (_connection, { timeoutMs }) => limits.push(timeoutMs) > 0;
  const probe = createProbe({ check, netnsUrl: undefined, intervalMs: 60_000, timeoutMs: 200_000, report: () => {} });
  probe.watch(connection);
  for (const count of [1, 2]) {
    await until(`check ${count}`, () => limits.length === count);
    await new Promise((resolve) => setImmediate(resolve));
    probe.hurry(true);
  }
  await until("the third check", () => limits.length === 3);
  probe.stop();
  assert.deepEqual(limits, [200_000, 120, 120]);
});

for (const { what, quick, slow, report } of [
  { what: "that fails ends a slow one that still waits", quick: false, slow: undefined, report: "dead" },
  { what: "that is answered ends it as well", quick: true, slow: undefined, report: "alive" },
  { what: "does not drown an answer that comes to the slow one", quick: undefined, slow: true, report: "alive" },
])
  test(`hurry does not wait for a check that runs: a quick one beside it ${what}`, async () => {
    const reports: string[] = [];
    const limits: number[] = [];
    const never = new Promise<boolean>(() => {});
    let answerSlow = (_alive: boolean): void => {};
    const check: LivenessCheck = (_connection, { timeoutMs }) => {
      limits.push(timeoutMs);
      if (limits.length === 1) return new Promise((resolve) => (answerSlow = resolve));
      return quick === undefined ? never : Promise.resolve(quick);
    };
    const probe = createProbe({
      check,
      netnsUrl: undefined,
      intervalMs: 60_000,
      timeoutMs: 200_000,
      report: (one) => reports.push(one),
    });
    probe.watch(connection);
    await until("the check", () => limits.length === 1);
    probe.hurry(true);
    probe.hurry(true);
    await until("the quick one", () => limits.length === 2);
    if (slow !== undefined) answerSlow(slow);
    await until("a report", () => reports.length > 0);
    probe.stop();
    assert.deepEqual(limits, [200_000, 120], "one beside it, however often it is told");
    assert.deepEqual(reports, [report]);
  });

test("rows 7.1, 7.8: while only somebody on the way is away, a path has half of the usual time to answer, until it is seen broken", async () => {
  const limits: number[] = [];
  const check: LivenessCheck = (_connection, { timeoutMs }) => {
    limits.push(timeoutMs);
    return new Promise<boolean>(() => {});
  };
  const probe = createProbe({ check, netnsUrl: undefined, intervalMs: 60_000, timeoutMs: 1_000, report: () => {} });
  probe.watch(connection);
  await until("the check", () => limits.length === 1);
  for (const seen of [false, false, true, true, false]) probe.hurry(seen);
  probe.stop();
  assert.deepEqual(limits, [1_000, 500, 120]);
});

test("row 7.8: in a hurry too, an endpoint that is far is given three times what its answers took", async () => {
  const limits: number[] = [];
  const check: LivenessCheck = async (_connection, { timeoutMs }) => {
    limits.push(timeoutMs);
    await new Promise((resolve) => setTimeout(resolve, 80));
    return true;
  };
  let answered = 0;
  const report = (): void => {
    answered += 1;
  };
  const probe = createProbe({ check, netnsUrl: undefined, intervalMs: 60_000, timeoutMs: 5_000, report });
  probe.watch(connection);
  await until("an answer", () => answered === 1);
  probe.hurry(true);
  await until("the second check", () => limits.length === 2);
  probe.stop();
  assert.ok((limits[1] ?? 0) >= 3 * 79, `${limits[1]}`);
});

test("the echo applies to kernel interfaces with addresses of one family at both ends", () => {
  assert.equal(echoApplies(connection), true);
  assert.equal(echoApplies(Connection.fromPartial({ ...connection, mechanism: { type: "MEMIF" } })), false);
  assert.equal(
    echoApplies(
      Connection.fromPartial({
        ...connection,
        context: { ip_context: { src_ip_addrs: ["fd00::1/128"], dst_ip_addrs: ["10.0.0.1/32"] } },
      }),
    ),
    false,
  );
  assert.equal(echoApplies(Connection.fromPartial({ ...connection, context: undefined })), false);
});

test("without a pair of addresses there is nothing that could be dead", async () => {
  const options = { netnsUrl: undefined, intervalMs: 10, timeoutMs: 50, signal: new AbortController().signal };
  assert.equal(await echoLiveness(Connection.fromPartial({}), options), true);
});
