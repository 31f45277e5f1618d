import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { test } from "node:test";
import { DNSConfig } from "../../sdk/gen/connectioncontext.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type CleanUp, cleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import { servePodDns } from "./pod-dns.js";
import { type AnswerBytes, knowing, message, record } from "./testing/name-server.js";
import { clusterServer, clusterServer6, meshServer, resolvConfText, startTestPod, type TestPod } from "./testing/place.js";
import { resolverPrograms } from "./testing/resolvers.js";
import { rcode, recordType } from "./message.js";
import type { DnsSource } from "./zones.js";

const clusterNames = { "web.default.svc.cluster.local": ["10.96.1.1"], "elsewhere.example": ["192.0.2.7"] };
const meshNames = { "printer.office.example": ["172.16.1.9"], "9.1.16.172.in-addr.arpa": ["printer.office.example"] };
const source = sourceOf([meshServer], ["office.example"]);

function sourceOf(servers: string[], domains: string[]): DnsSource {
  const configs = [DNSConfig.fromPartial({ dns_server_ips: servers, search_domains: domains })];
  return { configs, prefixes: ["172.16.1.0/24"] };
}

async function start(t: CleanUp, options: { mesh?: AnswerBytes; cluster?: AnswerBytes; text?: string; sources?: DnsSource[] } = {}) {
  const clean = cleanUp(t);
  const pod = await startTestPod(clean, options.cluster ?? knowing(clusterNames), options.mesh ?? knowing(meshNames), options.text);
  const dns = servePodDns({ netnsUrl: pod.netns.url, resolvConf: pod.resolvConf, log: silentLog });
  clean.after(() => dns.stop());
  dns.set(options.sources ?? [source]);
  await dns.settled();
  return { clean, pod, dns };
}

const glibc = async (pod: TestPod, name: string): Promise<string> => {
  const { out } = await pod.run(["getent", "ahosts", name]);
  return [...new Set(out.split("\n").map((line) => line.split(" ")[0]))].filter((text) => text !== "").join(" ");
};

for (const program of resolverPrograms) {
  test(`row 4.12: ${program.name} resolves names of the cluster and of the endpoint`, { skip: program.skip }, async (t) => {
    const { clean, pod } = await start(t);
    const command = program.prepare(clean);
    const say = async (name: string): Promise<string> => (await pod.run(command(name))).out.trim();
    const whole = program.name === "Node (c-ares)";
    assert.equal(await say(whole ? "web.default.svc.cluster.local" : "web"), "10.96.1.1");
    assert.equal(await say("elsewhere.example"), "192.0.2.7");
    assert.equal(await say("printer.office.example"), "172.16.1.9");
    assert.equal(await say("Printer.Office.Example"), "172.16.1.9");
    assert.equal(await say("printer"), "172.16.1.9", "by the endpoint's search domain");
    assert.match(await say("scanner.office.example"), /^none/);
    assert.match(await say("nowhere.example"), /^none/);
    assert.deepEqual(pod.cluster.asked.filter((line) => / \S*office\.example /.test(line.replace(/\.cluster\.local /, "!"))), []);
  });
}

test("rows 4.12, 4.13: no file is touched; without names nothing of ours is in the pod, and nothing stays", async (t) => {
  const { pod, dns } = await start(t, { sources: [{ configs: [], prefixes: [] }] });
  const look = async (): Promise<string> => (await pod.run(["nft", "list", "ruleset"])).out;
  assert.equal(await look(), "");
  assert.equal(dns.active(), false);
  dns.set([source]);
  await dns.settled();
  assert.match(await look(), /table inet weft-dns/);
  assert.equal((await pod.run(["cat", "/etc/resolv.conf"])).out, resolvConfText);
  dns.set([]);
  await dns.settled();
  assert.equal(await look(), "");
  assert.equal(await glibc(pod, "printer.office.example"), "");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
});

test("row 4.14: the name of an endpoint's address", async (t) => {
  const { pod } = await start(t);
  assert.match((await pod.run(["getent", "hosts", "172.16.1.9"])).out, /printer\.office\.example/);
});

test("row 4.13: servers that change are followed at once, and what was known of the old ones is forgotten", async (t) => {
  const { pod, dns } = await start(t);
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  pod.mesh.answer = knowing({ "printer.office.example": ["172.16.1.77"], "plotter.lab.example": ["172.16.1.8"] });
  dns.set([source, { ...sourceOf([meshServer], ["lab.example"]), prefixes: [] }]);
  await dns.settled();
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.77");
  assert.equal(await glibc(pod, "plotter.lab.example"), "172.16.1.8");
  dns.set([sourceOf([meshServer], ["lab.example"])]);
  await dns.settled();
  assert.equal(await glibc(pod, "printer.office.example"), "");
});

test("row 4.13: asked once, and answered from memory while it lives", async (t) => {
  const { pod, dns } = await start(t);
  for (let i = 0; i < 4; i++) assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  assert.deepEqual(pod.mesh.asked.filter((line) => line === "udp printer.office.example a").length, 1);
  assert.ok((dns.counts()?.cached ?? 0) >= 3);
});

test("row 4.13: all servers of a domain are asked, the first good answer wins, dead ones and those that know nothing cost no answer", async (t) => {
  const { pod } = await start(t, {
    mesh: knowing(meshNames),
    cluster: knowing(clusterNames),
    // one that does not exist, one that is the cluster's and knows no such name, one that refuses (nobody listens), one that knows
    sources: [sourceOf(["172.16.1.200", clusterServer, "172.16.1.2", meshServer], ["office.example"])],
  });
  const { out, tookMs } = await pod.run(["getent", "ahosts", "printer.office.example"]);
  assert.match(out, /172\.16\.1\.9/);
  assert.ok(pod.cluster.asked.includes("udp printer.office.example a"));
  // not the five seconds after which a resolver would try again
  assert.ok(tookMs < 4_500, `${tookMs} ms`);
});

test("a name server with an IPv6 address", async (t) => {
  const { pod } = await start(t, { text: `nameserver ${clusterServer6}\nsearch default.svc.cluster.local\n` });
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  assert.ok(pod.cluster6.asked.length > 0);
  assert.equal(pod.cluster.asked.length, 0);
});

test("large answers come by TCP, from the endpoint's server and from the cluster's", async (t) => {
  const many = Array.from({ length: 200 }, (_, i) => `172.16.2.${i + 1}`);
  const { pod } = await start(t, {
    mesh: knowing({ "all.office.example": many }),
    cluster: knowing({ "all.elsewhere.example": many }),
  });
  for (const name of ["all.office.example", "all.elsewhere.example"]) {
    assert.equal((await glibc(pod, name)).split(" ").length, 200, name);
  }
  assert.ok(pod.mesh.asked.includes("tcp all.office.example a"));
  assert.ok(pod.cluster.asked.includes("tcp all.elsewhere.example a"));
});

test("no loop: an endpoint that names the pod's own servers, or a forwarder in the pod, as its servers", async (t) => {
  const { clean, pod, dns } = await start(t);
  for (const servers of [[clusterServer], ["127.53.0.1"], ["127.0.0.1", "::1"]]) {
    const before = pod.cluster.asked.length;
    dns.set([sourceOf(servers, ["office.example"])]);
    await dns.settled();
    assert.equal(await glibc(pod, "printer.office.example."), "");
    assert.ok(pod.cluster.asked.length - before <= 20, `${pod.cluster.asked.length - before} queries`);
    assert.equal(await glibc(pod, "web.default.svc.cluster.local."), "10.96.1.1");
  }
  // a forwarder whose upstream is the pod's name server, which is us
  const { startForwarder } = await import("./testing/forwarder.js");
  const forwarder = startForwarder(clean, pod.netns, "10.96.0.2", clusterServer);
  dns.set([sourceOf(["10.96.0.2"], ["office.example"])]);
  await dns.settled();
  assert.equal(await glibc(pod, "printer.office.example."), "");
  assert.ok(forwarder.forwarded() <= 60, `${forwarder.forwarded()} queries went round`);
  assert.equal(await glibc(pod, "web.default.svc.cluster.local."), "10.96.1.1");
});

test("an endpoint cannot take the cluster's names", async (t) => {
  const liar = knowing({ "web.default.svc.cluster.local": ["172.16.1.66"], "kubernetes.default.svc.cluster.local": ["172.16.1.66"] });
  const domains = ["cluster.local", "svc.cluster.local", "default.svc.cluster.local", "local", "", ".", "kube-system.svc.cluster.local"];
  const { pod } = await start(t, { mesh: liar, sources: [sourceOf([meshServer], [...domains, "office.example"])] });
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  assert.equal(await glibc(pod, "kubernetes.default.svc.cluster.local"), "");
  assert.deepEqual(pod.mesh.asked.filter((line) => line.includes("cluster.local")), []);
});

const address = Buffer.from([172, 16, 1, 9]);
const good = (query: Buffer): Buffer => message(query, rcode.noError, query.readUInt16BE(query.length - 4) === 28 ? [] : [record(recordType.a, 60, address)]);
const hostile: readonly { readonly what: string; readonly answer: AnswerBytes; readonly resolves: boolean }[] = [
  {
    what: "a thousand answers with wrong ids, the right one at the end",
    resolves: false,
    answer: (query) => [...Array.from({ length: 1_000 }, (_, i) => spoiled(query, (bytes) => bytes.writeUInt16BE((bytes.readUInt16BE(0) + i + 1) & 0xffff, 0))), good(query)],
  },
  {
    what: "some answers with wrong ids and to other questions before the right one",
    resolves: true,
    answer: (query) => [
      ...Array.from({ length: 20 }, (_, i) => spoiled(query, (bytes) => bytes.writeUInt16BE((bytes.readUInt16BE(0) + i + 1) & 0xffff, 0))),
      spoiled(query, (bytes) => bytes.writeUInt8(0x78, 13)),
      spoiled(query, (bytes) => bytes.writeUInt8(0, 2)),
      Buffer.alloc(0),
      Buffer.from([1, 2, 3]),
      good(query),
    ],
  },
  { what: "a name that points to itself", resolves: false, answer: (query) => pointing(query, query.length) },
  { what: "a record longer than the message", resolves: false, answer: (query) => spoiled(query, (bytes) => bytes.writeUInt16BE(0xffff, bytes.length - 6)) },
  { what: "sixty thousand records that are not there", resolves: false, answer: (query) => spoiled(query, (bytes) => bytes.writeUInt16BE(60_000, 6)) },
  { what: "random bytes under the right id", resolves: false, answer: (query) => Buffer.concat([query.subarray(0, 2), Buffer.from([0x84, 0x80]), query.subarray(4), Buffer.alloc(400, 0xc1)]) },
  { what: "nothing", resolves: false, answer: () => undefined },
];

for (const { what, answer, resolves } of hostile) {
  test(`hostile server: ${what}`, async (t) => {
    const { pod } = await start(t, { mesh: answer });
    const { out } = await pod.run(["timeout", "6", "getent", "ahostsv4", "printer.office.example."]);
    assert.equal(/172\.16\.1\.9/.test(out), resolves, out);
    assert.equal(await glibc(pod, "web"), "10.96.1.1");
  });
}

function spoiled(query: Buffer, spoil: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(good(query));
  spoil(bytes);
  return bytes;
}

/** The answer's owner name is a pointer to `target`. */
function pointing(query: Buffer, target: number): Buffer {
  const cname = record(recordType.cname, 60, Buffer.from([0xc0 | (target >> 8), target & 0xff]));
  return message(query, rcode.noError, [cname]);
}

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

test("row 4.12: kill -9 of our process while names are resolved: the cluster's names go on, the next process takes over", async (t) => {
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
  assert.ok(slowestMs < 5_900, `at most one question was lost and asked again: ${slowestMs} ms`);
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
  const sweeper = servePodDns({ netnsUrl: pod.netns.url, resolvConf: pod.resolvConf, log: silentLog, sweep: true });
  await sweeper.settled();
  assert.equal((await pod.run(["nft", "list", "tables"])).out, "");
  await sweeper.stop();
});
