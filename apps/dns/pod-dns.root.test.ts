import assert from "node:assert/strict";
import { test } from "node:test";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { rcode, readQuestion } from "./message.js";
import { startForwarder } from "./testing/forwarder.js";
import { type AnswerBytes, knowing, message } from "./testing/name-server.js";
import { clusterNames, glibc, meshNames, source, sourceOf, startNames } from "./testing/names.js";
import { clusterServer, clusterServer6, meshServer, resolvConfText } from "./testing/place.js";
import { resolverPrograms } from "./testing/resolvers.js";

for (const program of resolverPrograms) {
  test(`row 4.12: ${program.name} resolves names of the cluster and of the endpoint`, { skip: program.skip }, async (t) => {
    // first, because a compiler keeps this process from saying that it lives
    const command = program.prepare(cleanUp(t));
    const { pod } = await startNames(t);
    const say = async (name: string): Promise<string> => (await pod.run(command(name))).out.trim();
    const whole = program.name === "Node (c-ares)";
    assert.equal(await say(whole ? "web.default.svc.cluster.local" : "web"), "10.96.1.1");
    assert.equal(await say("elsewhere.example"), "192.0.2.7");
    assert.equal(await say("printer.office.example"), "172.16.1.9");
    assert.equal(await say("Printer.Office.Example"), "172.16.1.9");
    assert.equal(await say("printer"), "172.16.1.9", "by the endpoint's search domain");
    assert.match(await say("scanner.office.example"), /^none/);
    assert.match(await say("nowhere.example"), /^none/);
    // the endpoint's names are its own affair; with a search domain of the cluster behind them they are no such names
    assert.deepEqual(
      pod.cluster.asked.filter((line) => line.includes("office.example ")),
      [],
    );
  });
}

test("rows 4.12, 4.13: no file is touched; without names nothing of ours is in the pod, and nothing stays", async (t) => {
  const { pod, dns } = await startNames(t, { sources: [{ configs: [], prefixes: [] }] });
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
  const { pod } = await startNames(t);
  assert.match((await pod.run(["getent", "hosts", "172.16.1.9"])).out, /printer\.office\.example/);
});

test("row 4.13: servers that change are followed at once, and what was known of the old ones is forgotten", async (t) => {
  const { pod, dns } = await startNames(t);
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
  const { pod, dns } = await startNames(t);
  for (let i = 0; i < 4; i++) {
    assert.match((await pod.run(["getent", "ahostsv4", "printer.office.example."])).out, /172\.16\.1\.9/);
  }
  assert.deepEqual([dns.counts()?.own, dns.counts()?.cached], [1, 3]);
});

test("row 4.13: all servers of a domain are asked, the first good answer wins, dead ones and those that know nothing cost no answer", async (t) => {
  const { pod } = await startNames(t, {
    mesh: knowing(meshNames),
    cluster: knowing(clusterNames),
    // one that does not exist, one that is the cluster's and knows no such name, one that refuses (nobody listens), one that knows
    sources: [sourceOf(["172.16.1.200", clusterServer, "172.16.1.2", meshServer], ["office.example"])],
  });
  assert.equal(await glibc(pod, "printer.office.example."), "172.16.1.9");
  assert.ok(pod.cluster.asked.includes("udp printer.office.example a"));
});

for (const { what, answer } of [
  { what: "refuses", answer: (query: Buffer) => message(query, rcode.refused, []) },
  { what: "fails at", answer: (query: Buffer) => message(query, rcode.serverFailure, []) },
  { what: "is silent about", answer: () => undefined },
]) {
  test(`a cluster without a way out, whose server ${what} what is not its own: names of the endpoint resolve, short ones too`, async (t) => {
    const own = knowing(clusterNames);
    const cluster: AnswerBytes = (query, transport) =>
      readQuestion(query)?.name?.endsWith("cluster.local") ? own(query, transport) : answer(query);
    const { pod } = await startNames(t, { cluster });
    assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
    assert.equal(await glibc(pod, "printer"), "172.16.1.9");
    assert.equal(await glibc(pod, "web"), "10.96.1.1");
  });
}

test("a name server with an IPv6 address", async (t) => {
  const { pod } = await startNames(t, { text: `nameserver ${clusterServer6}\nsearch default.svc.cluster.local\n` });
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  assert.equal(await glibc(pod, "printer.office.example"), "172.16.1.9");
  assert.ok(pod.cluster6.asked.length > 0);
  assert.equal(pod.cluster.asked.length, 0);
});

test("large answers come by TCP, from the endpoint's server and from the cluster's", async (t) => {
  const many = Array.from({ length: 200 }, (_, i) => `172.16.2.${i + 1}`);
  const { pod } = await startNames(t, {
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
  const { clean, pod, dns } = await startNames(t);
  for (const servers of [[clusterServer], ["127.53.0.1"], ["127.0.0.1", "::1"]]) {
    const before = pod.cluster.asked.length;
    dns.set([sourceOf(servers, ["office.example"])]);
    await dns.settled();
    assert.equal(await glibc(pod, "printer.office.example."), "");
    assert.ok(pod.cluster.asked.length - before <= 60, `${pod.cluster.asked.length - before} queries`);
    assert.equal(await glibc(pod, "web.default.svc.cluster.local."), "10.96.1.1");
  }
  // a forwarder whose upstream is the pod's name server, which is us
  const forwarder = startForwarder(clean, pod.netns, "10.96.0.2", clusterServer);
  dns.set([sourceOf(["10.96.0.2"], ["office.example"])]);
  await dns.settled();
  assert.equal(await glibc(pod, "printer.office.example."), "");
  assert.ok(forwarder.forwarded() <= 300, `${forwarder.forwarded()} queries went round`);
  assert.equal(await glibc(pod, "web.default.svc.cluster.local."), "10.96.1.1");
});

test("an endpoint cannot take the cluster's names", async (t) => {
  const liar = knowing({
    "web.default.svc.cluster.local": ["172.16.1.66"],
    "kubernetes.default.svc.cluster.local": ["172.16.1.66"],
  });
  const domains = [
    "cluster.local",
    "svc.cluster.local",
    "default.svc.cluster.local",
    "local",
    "",
    ".",
    "kube-system.svc.cluster.local",
  ];
  const { pod } = await startNames(t, { mesh: liar, sources: [sourceOf([meshServer], [...domains, "office.example"])] });
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  assert.equal(await glibc(pod, "kubernetes.default.svc.cluster.local"), "");
  assert.deepEqual(
    pod.mesh.asked.filter((line) => line.includes("cluster.local")),
    [],
  );
});
