import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConnectionEventType, MonitorScopeSelector } from "../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code } from "../sdk/status.js";
import { ServingStatus } from "../sdk/telemetry/health.js";
import { createLog } from "../sdk/telemetry/log.js";
import { timestampOf } from "../sdk/timestamp.js";
import { createDialer } from "../sdk/transport/dial.js";
import type { NsmgrConfig } from "./config.js";
import { run, startNsmgr } from "./main.js";

test("row 7.4: a registry that is away at start is named in every answer, and health says so", async (t) => {
  const { dialer, url, signal } = await start(t);
  const connection = { id: "c", network_service: "s", path: { index: 0, path_segments: [self()] } };
  const request = NetworkServiceRequest.fromPartial({ connection });
  await assert.rejects(dialer.connections(url).request(request, { signal }), {
    code: Code.UNAVAILABLE,
    details: /registry .* is away .*existing connections stay/,
  });
  const endpoint = NetworkServiceEndpoint.fromPartial({ name: "e", network_service_names: ["s"], url: "unix:///e" });
  await assert.rejects(dialer.endpointRegistry(url).register(endpoint, { signal }), {
    code: Code.UNAVAILABLE,
    details: /registry .* is away/,
  });
  const found = dialer.endpointRegistry(url).find(endpoint, { watch: false, signal });
  await assert.rejects(async () => {
    for await (const _ of found);
  }, /registry .* is away/);
});

test("row 10.8: NOT_SERVING without a forwarder and without a registry", async (t) => {
  const { dialer, url, signal } = await start(t);
  for (const part of ["", "registry", "forwarder"]) {
    assert.equal(await dialer.health(url, part, signal), ServingStatus.NOT_SERVING);
  }
});

test("row 1.31: the first message of a monitor comes at once, also when there is nothing", async (t) => {
  const { dialer, url, signal } = await start(t);
  const events = dialer.monitor(url, MonitorScopeSelector.fromPartial({}), signal)[Symbol.asyncIterator]();
  const { value } = await events.next();
  assert.deepEqual([value?.type, value?.connections], [ConnectionEventType.INITIAL_STATE_TRANSFER, {}]);
});

test("stopping ends monitor streams with UNAVAILABLE, frees the socket, and is done in time", async (t) => {
  const { dialer, url, signal, nsmgr, path } = await start(t);
  const events = dialer.monitor(url, MonitorScopeSelector.fromPartial({}), signal)[Symbol.asyncIterator]();
  await events.next();
  const ended = assert.rejects(events.next(), { code: Code.UNAVAILABLE });
  await Promise.all([nsmgr.stop(), nsmgr.stop()]);
  await ended;
  await assert.rejects(stat(path), { code: "ENOENT" });
});

test("a second manager on the same socket is refused with the remedy, and the first goes on", async (t) => {
  const { config, log, lines, dialer, url, signal } = await start(t);
  await assert.rejects(startNsmgr(config, { log }), { code: Code.ALREADY_EXISTS, details: /stop it or choose another path/ });
  assert.ok(lines.some((line) => line.includes("phase") && line.includes("failed")));
  assert.equal(await dialer.health(url, "", signal), ServingStatus.NOT_SERVING);
});

test("the inspector shows the registry's state and changes the log level", async (t) => {
  const { dialer, url, signal } = await start(t);
  const inspect = dialer.inspect(url);
  const { facts } = await inspect.getReport({ section: "registry" }, { signal });
  assert.deepEqual(
    facts.map(({ section, value }) => [section, value]),
    [["registry", "down"]],
  );
  assert.equal((await inspect.setLogLevel({ level: "debug" }, { signal })).level, "debug");
  await assert.rejects(inspect.setLogLevel({ level: "shout" }, { signal }), { code: Code.INVALID_ARGUMENT });
});

test("row 4.4: the prefixes in force are in the report", async (t) => {
  const { dialer, url, signal } = await start(t, "prefixes: [10.0.0.0/8]");
  const { facts } = await dialer.inspect(url).getReport({ section: "excluded-prefixes" }, { signal });
  assert.deepEqual(
    facts.map(({ name }) => name),
    ["10.0.0.0/8"],
  );
});

test("without an identity the command starts only with --insecure", async () => {
  assert.equal(await run({ argv: ["--name", "x"], env: {}, signal: AbortSignal.abort() }), 2);
});

async function start(t: TestContext, prefixes = "") {
  const folder = await mkdtemp(join(tmpdir(), "weft-nsmgr-"));
  const path = join(folder, "nsm.sock");
  const url = `unix://${path}`;
  await writeFile(join(folder, "excluded.yaml"), prefixes);
  const config: NsmgrConfig = {
    insecure: true,
    spiffeEndpointSocket: undefined,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsBundle: [],
    caUrl: undefined,
    joinToken: undefined,
    joinTokenFile: undefined,
    caRoot: undefined,
    healthListenOn: undefined,
    spiffeId: undefined,
    stateDir: undefined,
    serverPolicies: [],
    registryServerPolicies: [],
    registryClientPolicies: [],
    monitorPolicies: [],
    operators: [],
    tenantRate: 0,
    tenantBurst: 1,
    tenantConcurrency: 1,
    tenantQuota: 0,
    maxUnderWay: 1,
    logLevel: "info",
    telemetry: false,
    openTelemetryEndpoint: "",
    metricsExportIntervalMs: 1_000,
    prometheus: false,
    prometheusListenOn: "",
    name: "nsmgr",
    listenOn: [url],
    registryUrl: `unix://${join(folder, "registry.sock")}`,
    maxTokenLifetimeMs: 600_000,
    dialTimeoutMs: 500,
    forwarderServiceName: "forwarder",
    endpointLifetimeMs: 60_000,
    requestTimeoutMs: 5_000,
    drainTimeoutMs: 1_000,
    publicUrl: undefined,
    excludedPrefixesFile: join(folder, "excluded.yaml"),
    nodeLabels: {},
  };
  const lines: string[] = [];
  const log = createLog({ name: "nsmgr", destination: { write: (line: string) => lines.push(line) } });
  const nsmgr = await startNsmgr(config, { log });
  const dialer = createDialer({ dialTimeoutMs: 500 });
  const stop = new AbortController();
  t.after(async () => {
    stop.abort();
    dialer.close();
    await nsmgr.stop();
    await rm(folder, { recursive: true });
  });
  return { nsmgr, config, log, lines, dialer, url, path, signal: stop.signal };
}

function self() {
  return { name: "client", id: "c", expires: timestampOf(Date.now() + 60_000) };
}
