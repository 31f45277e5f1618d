import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type CollectedSpan, startOtlpCollector } from "../../sdk/testing/otlp-collector.js";
import { openPlace } from "../cli/isolated.js";

const hops = ["client", "nsmgr-1", "forwarder-1", "nsmgr-2", "forwarder-2", "hello"];

test("row 10.1: one trace follows a request through every process on its way", { timeout: 110_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "weft-trace-"));
  // a socket in the file system: the processes live in network namespaces of their own
  const collector = await startOtlpCollector(`unix://${join(folder, "otlp.sock")}`);
  t.after(async () => {
    await collector.stop();
    rmSync(folder, { recursive: true });
  });
  const place = await openPlace(t, {
    TELEMETRY: "true",
    NSM_OPEN_TELEMETRY_ENDPOINT: collector.endpoint,
    NSM_METRICS_EXPORT_INTERVAL: "1s",
  });
  for (const argv of [["up"], ["serve", "hello", "--node", "node-2", "-d"], ["connect", "hello", "--node", "node-1", "-d"]]) {
    const { code, err } = await place.weft(...argv);
    assert.equal(code, 0, err);
  }
  const limit = AbortSignal.timeout(30_000);
  await collector.until(() => fullTrace(collector.spans) !== undefined, limit);
  await collector.until(() => collector.metricNames.has("weft_call_duration_seconds"), limit);
  const spans = fullTrace(collector.spans) ?? [];
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const roots = spans.filter((span) => !byId.has(span.parentSpanId));
  assert.deepEqual([...new Set(roots.map(({ service }) => service))], ["client"]);
  for (const [index, service] of hops.entries()) {
    const before = hops[index - 1];
    if (before === undefined) continue;
    // each process's first span hangs on a span of the process before it
    assert.ok(
      spans.some((span) => span.service === service && byId.get(span.parentSpanId)?.service === before),
      `no span of ${service} below one of ${before}`,
    );
  }
  assert.equal((await place.weft("down")).code, 0);
});

/** The spans of a trace that has been in every process; undefined while there is none. */
function fullTrace(spans: readonly CollectedSpan[]): CollectedSpan[] | undefined {
  for (const traceId of new Set(spans.map((span) => span.traceId))) {
    const own = spans.filter((span) => span.traceId === traceId);
    const services = new Set(own.map(({ service }) => service));
    if (hops.every((hop) => services.has(hop)) && own.every(isThere(own))) return own;
  }
  return undefined;
}

/** Whether a span's parent has arrived, or it is the first of all. */
function isThere(spans: readonly CollectedSpan[]): (span: CollectedSpan) => boolean {
  return ({ parentSpanId }) => parentSpanId === "" || spans.some(({ spanId }) => spanId === parentSpanId);
}
