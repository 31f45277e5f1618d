import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain, type Handler } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { startOtlpCollector } from "../testing/otlp-collector.js";
import { startTelemetry, type TelemetrySettings } from "./telemetry.js";
import { formatTraceparent, newTraceparent, parseTraceparent } from "./traceparent.js";

const quiet: TelemetrySettings = {
  logLevel: "info",
  telemetry: false,
  openTelemetryEndpoint: "",
  metricsExportIntervalMs: 100,
  prometheus: false,
  prometheusListenOn: "127.0.0.1:0",
};
const request = NetworkServiceRequest.fromPartial({ connection: { id: "c1", network_service: "svc" } });

test("row 10.1: one trace covers every element of every component a request passes", async () => {
  const collector = await startOtlpCollector();
  const settings = { ...quiet, telemetry: true, openTelemetryEndpoint: collector.endpoint };
  const second = await component("forwarder-1", settings, async () => Connection.fromPartial({ id: "c1" }));
  const first = await component("nsmgr-1", settings, (input, context) =>
    second.handler.request(input, { ...backgroundCall(context.signal), traceparent: context.traceparent }),
  );
  await first.handler.request(request, backgroundCall(AbortSignal.timeout(5000)));
  await first.telemetry.stop();
  await second.telemetry.stop();
  assert.equal(new Set(collector.spans.map((span) => span.traceId)).size, 1);
  const named = new Map(collector.spans.map((span) => [span.name, span]));
  assert.deepEqual([...named.keys()].sort(), [
    "forwarder-1/one.request",
    "forwarder-1/two.request",
    "nsmgr-1/one.request",
    "nsmgr-1/two.request",
  ]);
  assert.equal(named.get("forwarder-1/one.request")?.parentSpanId, named.get("nsmgr-1/two.request")?.spanId);
  assert.equal(named.get("nsmgr-1/two.request")?.service, "nsmgr-1");
  assert.ok(collector.metricNames.has("weft_call_duration_seconds"));
  await collector.stop();
});

test("row 10.3: a Prometheus scrape works without a collector, counts calls by code and shows path metrics", async () => {
  const { telemetry, handler } = await component("fwd", { ...quiet, prometheus: true }, async () => {
    throw statusError(Code.NOT_FOUND, "no such service");
  });
  try {
    await assert.rejects(handler.request(request, backgroundCall(AbortSignal.timeout(5000))), { code: Code.NOT_FOUND });
    telemetry.metrics?.recordConnection(
      Connection.fromPartial({
        id: "c1",
        network_service: "svc",
        path: { path_segments: [{ name: "fwd", metrics: { rx_bytes: "42", client_drops: "", constructor: "x" } }] },
      }),
    );
    const scrape = async (): Promise<string> => (await fetch(telemetry.metricsUrl ?? "")).text();
    const text = await scrape();
    assert.ok(/^weft_call_duration_seconds_count\{.*code="NOT_FOUND".*\} 1$/m.test(text), "the refused call is not counted");
    assert.ok(/^weft_connection_metric\{.*segment="fwd",metric="rx_bytes".*\} 42$/m.test(text), "the path metric is missing");
    telemetry.metrics?.forgetConnection("c1");
    assert.ok(!(await scrape()).includes(`connection="c1"`));
  } finally {
    await telemetry.stop();
  }
});

test("a metrics address in use is refused with the remedy, and nothing stays behind", async () => {
  const first = await startTelemetry({ name: "a", settings: { ...quiet, prometheus: true } });
  const taken = new URL(first.metricsUrl ?? "").host;
  const listeners = process.listenerCount("SIGUSR1");
  await assert.rejects(startTelemetry({ name: "b", settings: { ...quiet, prometheus: true, prometheusListenOn: taken } }), {
    code: Code.FAILED_PRECONDITION,
    message: /PROMETHEUS_LISTEN_ON/,
  });
  assert.equal(process.listenerCount("SIGUSR1"), listeners);
  await first.stop();
  assert.equal(process.listenerCount("SIGUSR1"), 0);
});

test("every request carries a trace id through all elements, with or without a collector", async () => {
  const seen: (string | undefined)[] = [];
  const { telemetry, handler } = await component("nsmgr", quiet, async (_input, context) => {
    seen.push(context.traceparent);
    return Connection.fromPartial({ id: "c1" });
  });
  await handler.request(request, backgroundCall(AbortSignal.timeout(5000)));
  const given = formatTraceparent({ traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", sampled: true });
  await handler.request(request, { ...backgroundCall(AbortSignal.timeout(5000)), traceparent: given });
  assert.ok(parseTraceparent(seen[0]));
  assert.equal(seen[1], given);
  await telemetry.stop();
});

test("at level trace each element is logged with ids, and tokens are not", async () => {
  const lines: string[] = [];
  const telemetry = await startTelemetry({
    name: "n",
    settings: { ...quiet, logLevel: "trace" },
    destination: { write: (line) => lines.push(line) },
  });
  const handler = twoElements("n", telemetry, async () => Connection.fromPartial({ id: "c1" }));
  const secret = NetworkServiceRequest.fromPartial({
    connection: { id: "c1", path: { path_segments: [{ token: "s3cret", name: "a", id: "c1" }] } },
  });
  await handler.request(secret, backgroundCall(AbortSignal.timeout(5000)));
  await telemetry.stop();
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    parsed.map((line) => line["element"]),
    ["two", "one"],
  );
  for (const line of parsed) {
    assert.equal(line["connectionId"], "c1");
    assert.match(String(line["traceId"]), /^[0-9a-f]{32}$/);
  }
  assert.ok(!lines.join("").includes("s3cret"));
});

test("a traceparent is read as the standard says; anything else is ignored", () => {
  assert.deepEqual(parseTraceparent(newTraceparent())?.sampled, false);
  for (const wrong of [
    `ff-${"1".repeat(32)}-${"2".repeat(16)}-00`,
    `00-${"0".repeat(32)}-${"2".repeat(16)}-00`,
    "00-1-2-3",
    "",
  ]) {
    assert.equal(parseTraceparent(wrong), undefined);
  }
  fc.assert(fc.property(fc.string(), (text) => void parseTraceparent(text)));
  const ids = new Set(Array.from({ length: 500 }, newTraceparent));
  assert.equal(ids.size, 500);
});

type Last = Handler<ConnectionApi>["request"];

async function component(name: string, settings: TelemetrySettings, last: Last) {
  const telemetry = await startTelemetry({ name, settings, destination: { write() {} } });
  return { telemetry, handler: twoElements(name, telemetry, last) };
}

function twoElements(name: string, telemetry: Awaited<ReturnType<typeof startTelemetry>>, last: Last): Handler<ConnectionApi> {
  const pass = (element: string) => ({
    name: element,
    steps: {
      request: async (
        input: NetworkServiceRequest,
        _context: unknown,
        rest: { request: (input: NetworkServiceRequest) => Promise<Connection> },
      ) => rest.request(input),
    },
  });
  return chain<ConnectionApi>(name, ["request", "close"], telemetry.observer)
    .use(pass("one"))
    .use(pass("two"))
    .end({ request: last, close: async () => {} });
}
