import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type CleanUp, cleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import { findLeftovers } from "./leftovers.js";
import { servePodDns } from "./pod-dns.js";
import { knowing } from "./testing/name-server.js";
import { clusterNames, glibc, meshNames, source } from "./testing/names.js";
import { startTestPod, type TestPod } from "./testing/place.js";

/** A process of its own that serves the pod's DNS. */
async function startChild(clean: CleanUp, pod: TestPod): Promise<ChildProcess> {
  const script = new URL("./testing/serve-child.ts", import.meta.url).pathname;
  const args = ["--import", "tsx", script, pod.netns.url, pod.file, JSON.stringify([source])];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  clean.after(() => {
    child.kill("SIGKILL");
  });
  await once(child.stdout as Readable, "data");
  return child;
}

async function podWithoutUs(t: CleanUp): Promise<{ clean: CleanUp; pod: TestPod }> {
  const clean = cleanUp(t);
  return { clean, pod: await startTestPod(clean, knowing(clusterNames), knowing(meshNames)) };
}

const aliveNow = async (pod: TestPod): Promise<boolean> =>
  /elements/.test((await pod.run(["nft", "list", "set", "inet", "weft-dns", "alive"])).out);

test("row 4.12: kill -9 of our process while names are resolved: the cluster's names go on, the next process takes over", async (t: TestContext) => {
  const { clean, pod } = await podWithoutUs(t);
  const child = await startChild(clean, pod);
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  // one look-up after the other, through the death of the process
  let failed = 0;
  let done = 0;
  let slowestMs = 0;
  let over = false;
  const looking = (async () => {
    while (!over) {
      const { out, tookMs } = await pod.run(["getent", "ahostsv4", "web.default.svc.cluster.local."]);
      done++;
      if (!out.includes("10.96.1.1")) failed++;
      slowestMs = Math.max(slowestMs, tookMs);
    }
  })();
  await until("some look-ups", () => done > 5);
  child.kill("SIGKILL");
  await once(child, "exit");
  // not a matter of time: the kernel ends the diversion with the process
  assert.equal(await aliveNow(pod), false);
  const before = done;
  await until("more look-ups", () => done > before + 5);
  over = true;
  await looking;
  assert.equal(failed, 0);
  t.diagnostic(`${done} look-ups, the slowest took ${Math.round(slowestMs)} ms`);
  assert.equal(await glibc(pod, "printer.office.example"), "");
  await startChild(clean, pod);
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
});

test("a process of ours that hangs: the pod's queries go their own way after three seconds, and come back with it", async (t) => {
  const { clean, pod } = await podWithoutUs(t);
  const child = await startChild(clean, pod);
  child.kill("SIGSTOP");
  await until("the rules to lapse", async () => !(await aliveNow(pod)), 8_000);
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  child.kill("SIGCONT");
  await until("the rules to hold", () => aliveNow(pod), 8_000);
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
});

test("two processes for one pod: one does it, the other takes over when it has gone; leftovers of a crash are swept", async (t) => {
  const { clean, pod } = await podWithoutUs(t);
  const child = await startChild(clean, pod);
  const second = servePodDns({ netnsUrl: pod.netns.url, resolvConf: pod.resolvConf, log: silentLog });
  clean.after(() => second.stop());
  second.set([source]);
  await second.settled();
  assert.equal(second.active(), false);
  child.kill("SIGKILL");
  await until("the second to take over", () => second.active(), 8_000);
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  await second.stop();
  // a crash, and no connection has names when the next process comes
  const third = await startChild(clean, pod);
  third.kill("SIGKILL");
  await once(third, "exit");
  assert.match((await pod.run(["nft", "list", "tables"])).out, /weft-dns/);
  const left = (): Promise<string[]> => findLeftovers().then((found) => found.map(({ url }) => url));
  assert.deepEqual(await left(), [pod.netns.url]);
  const sweeper = servePodDns({ netnsUrl: pod.netns.url, resolvConf: pod.resolvConf, log: silentLog, sweep: true });
  await sweeper.settled();
  assert.equal((await pod.run(["nft", "list", "tables"])).out, "");
  await sweeper.stop();
  // the same by hand, but not where a process serves
  const fourth = await startChild(clean, pod);
  assert.deepEqual(await left(), []);
  fourth.kill("SIGKILL");
  await once(fourth, "exit");
  for (const { remove } of await findLeftovers()) await remove();
  assert.equal((await pod.run(["nft", "list", "tables"])).out, "");
});
