import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { manualClock } from "../clock.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { createFakeRegistry } from "../testing/fake-registry.js";
import { timestampOf } from "../timestamp.js";
import { keepRegistered } from "./keep-registered.js";
import { matchesEndpoint, matchesService } from "./match.js";

const entry = NetworkServiceEndpoint.fromPartial({ name: "nse", network_service_names: ["s"], url: "unix:///x" });

test("an entry is refreshed after two thirds of its lease, with the answered entry and no expiry of its own", async (t) => {
  const { fake, keep, clock, until } = start(t, 60_000);
  const sent: NetworkServiceEndpoint[] = [];
  const answer = fake.answer;
  fake.answer = (entry) => {
    sent.push(entry);
    return { ...answer(entry), url: "tcp://public:1" };
  };
  const registration = await keep();
  await until(() => fake.openWatches === 1);
  clock.advance(39_000);
  assert.equal(fake.counts.register, 1);
  clock.advance(1_100);
  await until(() => fake.counts.register === 2);
  assert.equal(sent[1]?.expiration_time, undefined);
  assert.equal(sent[1]?.url, "tcp://public:1");
  assert.equal(registration.entry.url, "tcp://public:1");
});

test("a refresh comes within 40 s even if the registry's clock runs far ahead, and never at once", async (t) => {
  const { fake, keep, clock, until } = start(t, 86_400_000);
  await keep();
  clock.advance(40_001);
  await until(() => fake.counts.register === 2);
  fake.answer = (entry) => ({ ...entry, expiration_time: timestampOf(clock.nowMs() - 500_000) });
  clock.advance(40_001);
  await until(() => fake.counts.register === 3);
  clock.advance(900);
  await turns();
  assert.equal(fake.counts.register, 3);
});

test("the call's deadline is short: NSM's registry takes the time left of it off the lease", async (t) => {
  const { fake, keep } = start(t);
  const deadlines: (number | undefined)[] = [];
  const { register } = fake;
  fake.register = (entry, options) => {
    deadlines.push(options.deadlineMs);
    return register(entry, options);
  };
  await keep();
  const leftMs = (deadlines[0] ?? Number.POSITIVE_INFINITY) - Date.now();
  assert.ok(leftMs <= 15_000, `${leftMs} ms`);
});

for (const leaseMs of [60_000, 30_000, 20_000, 10_000, 5_000, 3_000])
  test(`a lease of ${leaseMs / 1_000} s never lapses at a registry that takes the time left of the call off it`, async (t) => {
    const { fake, keep, clock, until } = start(t, leaseMs);
    let lapseMs = 0;
    let calls = 0;
    const { register } = fake;
    fake.register = async (entry, options) => {
      calls += 1;
      lapseMs = clock.nowMs() + leaseMs - ((options.deadlineMs ?? Number.POSITIVE_INFINITY) - Date.now());
      return register(entry, options);
    };
    await keep();
    await until(() => fake.openWatches === 1);
    for (let refresh = 1; refresh <= 4; refresh += 1) {
      // Of the first call the registry's lease is not known yet: an entry that it takes out at once is registered again, as its watch tells.
      const early = refresh === 1 && lapseMs - clock.nowMs() < 1_100;
      if (!early) clock.advance(lapseMs - clock.nowMs() - 50);
      else clock.advance(leaseMs);
      await until(() => calls === refresh + 1);
    }
  });

test("a registry that is too slow for a short lease is given more time by and by", async (t) => {
  const { fake, keep, clock, until } = start(t, 6_000);
  const limitsMs: number[] = [];
  const { register } = fake;
  let slow = false;
  fake.register = async (entry, options) => {
    limitsMs.push((options.deadlineMs ?? 0) - Date.now());
    if (slow) throw statusError(Code.DEADLINE_EXCEEDED, "too slow");
    return register(entry, options);
  };
  await keep();
  slow = true;
  clock.advance(4_000);
  await until(() => limitsMs.length === 2);
  for (let tries = 3; tries <= 6; tries += 1) {
    clock.advance(2_000);
    await until(() => limitsMs.length === tries);
  }
  for (const [index, most] of [15_000, 1_000, 2_000, 4_000, 8_000, 15_000].entries()) {
    const limitMs = limitsMs[index] ?? 0;
    assert.ok(limitMs > 0.8 * most && limitMs <= most, `try ${index + 1}: ${limitMs} ms`);
  }
});

test("the first registration is tried until the registry answers", async (t) => {
  const { fake, keep, clock } = start(t);
  fake.failure = statusError(Code.UNAVAILABLE, "away");
  const registration = keep();
  await turns();
  assert.equal(fake.counts.register, 1);
  clock.advance(200);
  await turns();
  assert.equal(fake.counts.register, 2);
  clock.advance(399);
  await turns();
  assert.equal(fake.counts.register, 2);
  fake.failure = undefined;
  clock.advance(1);
  assert.equal((await registration).entry.name, "nse");
});

test("row 3.7: a name that belongs to somebody else is reported at once", async (t) => {
  const { fake, keep } = start(t);
  fake.failure = statusError(Code.PERMISSION_DENIED, "taken");
  await assert.rejects(keep(), { code: Code.PERMISSION_DENIED });
  assert.equal(fake.openWatches, 0);
});

test("the entry is registered again at once when its watch ends or it is removed", async (t) => {
  const { fake, keep, clock, until } = start(t);
  await keep();
  await until(() => fake.openWatches === 1);
  clock.advance(5_000);
  fake.entries.clear();
  fake.endWatches();
  await until(() => fake.counts.register === 2);
  assert.ok(fake.entries.has("nse"));
  clock.advance(5_000);
  await until(() => fake.openWatches === 1);
  await fake.unregister(entry, { signal: new AbortController().signal });
  await until(() => fake.entries.has("nse"));
});

test("row 7.2: an entry that was lost between two watches is registered again", async (t) => {
  const { fake, keep, clock, until } = start(t);
  await keep();
  await until(() => fake.openWatches === 1);
  clock.advance(5_000);
  fake.endWatches();
  await until(() => fake.counts.register === 2);
  fake.entries.clear();
  clock.advance(200);
  await until(() => fake.openWatches === 1);
  clock.advance(1_000);
  await until(() => fake.counts.register === 3);
  clock.advance(5_000);
  await turns();
  assert.equal(fake.counts.register, 3);
});

test("a registry that answers but ends every watch is not asked in a loop", async (t) => {
  const { fake, keep, clock, until } = start(t);
  await keep();
  await until(() => fake.openWatches === 1);
  for (let i = 0; i < 100; i++) {
    fake.endWatches(statusError(Code.RESOURCE_EXHAUSTED, "too many"));
    await turns();
    clock.advance(100);
    await turns();
  }
  assert.ok(fake.counts.watch < 20, `${fake.counts.watch} watches in 10 s`);
  assert.ok(fake.counts.register < 20, `${fake.counts.register} registrations in 10 s`);
});

test("row 2.15: unregister takes the entry out and ends everything", async (t) => {
  const { fake, keep, until } = start(t);
  const registration = await keep();
  await until(() => fake.openWatches === 1);
  await registration.unregister();
  await registration.closed;
  assert.equal(fake.entries.size, 0);
  assert.equal(fake.openWatches, 0);
  await registration.unregister();
  assert.equal(fake.counts.unregister, 1);
});

test("unregister does not fail when the registry is away", async (t) => {
  const { fake, keep } = start(t);
  const registration = await keep();
  fake.failure = statusError(Code.UNAVAILABLE, "away");
  await registration.unregister();
  await registration.closed;
});

test("the signal ends the keeping without unregistering, also before the first answer", async (t) => {
  const { fake, keep, stop, until } = start(t);
  const registration = await keep();
  await until(() => fake.openWatches === 1);
  stop();
  await registration.closed;
  assert.ok(fake.entries.has("nse"));
  assert.equal(fake.openWatches, 0);
  await assert.rejects(keep(), { name: "AbortError" });
});

test("row 2.14: a service has no lease and is registered once", async (t) => {
  const stopping = new AbortController();
  t.after(() => stopping.abort());
  const clock = manualClock();
  const fake = createFakeRegistry<NetworkService>(matchesService);
  const service = NetworkService.fromPartial({ name: "s", payload: "IP" });
  const registration = await keepRegistered(fake, service, { log: silentLog, signal: stopping.signal, clock, random: () => 0 });
  await turns();
  clock.advance(3_600_000);
  await turns();
  assert.equal(fake.counts.register, 1);
  await registration.unregister();
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

function start(t: TestContext, leaseMs = 60_000) {
  const stopping = new AbortController();
  t.after(() => stopping.abort());
  const clock = manualClock();
  const fake = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  fake.answer = (entry) => ({ ...entry, expiration_time: timestampOf(clock.nowMs() + leaseMs) });
  return {
    fake,
    clock,
    stop: () => stopping.abort(),
    keep: () => keepRegistered(fake, entry, { log: silentLog, signal: stopping.signal, clock, random: () => 0 }),
    async until(condition: () => boolean) {
      for (let turn = 0; turn < 1_000; turn++) {
        if (condition()) return;
        await new Promise(setImmediate);
      }
      assert.fail(`never true: ${condition}`);
    },
  };
}
