import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../sdk/clock.js";
import { createAuthority } from "../../sdk/identity/authority.js";
import { identityOver } from "../../sdk/identity/identity.js";
import { identityFromWorkloadApi } from "../../sdk/identity/workload-api-client.js";
import { serveWorkloadApi, type WorkloadApiServer } from "../../sdk/identity/workload-api-server.js";
import { Code } from "../../sdk/status.js";
import { createLog, silentLog } from "../../sdk/telemetry/log.js";
import { testIdentity } from "../../sdk/testing/identities.js";
import { temporaryFolder } from "../../sdk/testing/test-server.js";
import { dialWith, limit, request, serveWith } from "../../sdk/testing/tls-server.js";
import { until } from "../../sdk/testing/until.js";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

test("bad input, row 7.9: a Workload API that is away for an hour: the last SVID holds to its end, then callers are UNAUTHENTICATED, and it heals", async (t) => {
  // Only what time it is changes; what waits, waits in real time.
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  // certificates of an hour, an authority and a server that live longer
  const folder = temporaryFolder(t);
  const url = `unix://${folder}/agent.sock`;
  const longLived = await createAuthority("weft.test", { lifetimeMs: 24 * hourMs });
  const agentOptions = { url, authority: longLived, lifetimeMs: hourMs, idOf: () => "spiffe://weft.test/client" };
  const serveAgent = (): Promise<WorkloadApiServer> =>
    serveWorkloadApi({ ...agentOptions, log: silentLog, signal: new AbortController().signal });
  const server = await serveWith(t, await testIdentity(longLived, "/server", { lifetimeMs: 12 * hourMs }));

  const lines: string[] = [];
  const log = createLog({ name: "client", destination: { write: (line: string) => lines.push(line) } });
  const agent = await serveAgent();
  const source = await identityFromWorkloadApi(url, { log, signal: new AbortController().signal });
  t.after(() => source.close());
  const identity = identityOver(source, { clock: systemClock, maxTokenLifetimeMs: 10 * minuteMs });
  // each a new client: a new connection, with the SVID of now
  const ask = () =>
    dialWith(t, identity, log)
      .connections(server.urls[0] ?? "")
      .request(request, limit());
  await ask();

  await agent.close();
  await until("the agent is missed", () => lines.some((line) => line.includes("does not answer")));
  t.mock.timers.tick(59 * minuteMs);
  await ask();
  t.mock.timers.tick(2 * minuteMs);
  const mark = server.lines.length;
  await assert.rejects(ask(), { code: Code.UNAUTHENTICATED, details: /no valid identity was shown/ });
  const refusals = server.lines.slice(mark).filter((line) => line.includes('"audit"'));
  assert.equal(refusals.length, 1, refusals.join(""));
  assert.match(refusals[0] ?? "", /expired at/);

  const again = await serveAgent();
  t.after(() => again.close());
  const before = source.current();
  await until("an SVID of the agent that is back", () => source.current() !== before);
  await ask();
});
