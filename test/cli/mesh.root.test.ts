import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { openPlace, type Place, top } from "./isolated.js";

test("without a mesh: questions say how to start one, down has nothing to do, doctor finds nothing wrong", async (t) => {
  const place = await openPlace(t);
  for (const argv of [
    ["get", "services"],
    ["why", "x"],
    ["describe", "pod", "x"],
    ["serve", "x"],
    ["connect", "x"],
    ["exec", "x", "true"],
  ]) {
    const { code, out, err } = await place.weft(...argv);
    assert.equal(code, 1);
    assert.equal(out, "");
    assert.match(err, /no local mesh is running.*`weft up --nodes 2`/);
  }
  assert.deepEqual(await place.weft("down"), { code: 0, out: "no local mesh: nothing to remove\n", err: "" });
  const { code, out } = await place.weft("doctor", "--json");
  const { ok, findings } = JSON.parse(out) as { ok: boolean; findings: { name: string; verdict: string; detail: string }[] };
  assert.equal(code, 0);
  assert.ok(ok);
  assert.ok(findings.some(({ name, verdict }) => name === "veth" && verdict === "ok"));
  for (const { verdict, detail } of findings)
    if (verdict !== "ok") assert.notEqual(detail, "", "what is missing names its remedy");
});

test("components refuse to start without an identity, and explain wrong settings", async (t) => {
  const place = await openPlace(t);
  const workloads = ["endpoint", "client", "firewall"];
  const components = ["registry", "nsmgr", "forwarder"];
  await Promise.all(
    [...components, ...workloads].map(async (component) => {
      const { code, err } = await place.weft(component, "--no-such-flag");
      assert.equal(code, 2, component);
      assert.match(err, /unknown flag --no-such-flag/, component);
      const help = await place.weft(component, "--help");
      assert.equal(help.code, 0, component);
      assert.match(help.out, /env NSM_NAME/, component);
    }),
  );
  for (const component of components) {
    const { code, err } = await place.weft(component);
    assert.notEqual(code, 0, component);
    assert.match(err, /--insecure/, component);
  }
});

test("row 9.8: up, serve, connect, get, describe, why, exec, log-level, down", { timeout: 110_000 }, async (t) => {
  const place = await openPlace(t);
  const up = await place.weft("up", "--nodes", "2");
  assert.equal(up.code, 0, up.err);
  assert.match((await place.weft("up")).err, /a mesh of 2 nodes is running \(pid \d+\); take it down with `weft down`/);
  const served = await place.weft("serve", "hello", "--node", "node-2", "--detach");
  assert.equal(served.code, 0, served.err);
  assert.match((await place.weft("serve", "hello", "--detach")).err, /pod "hello" exists; choose another --pod name/);
  assert.match(
    (await place.weft("connect", "hello", "--node", "node-9", "-d")).err,
    /no node "node-9"; there are node-1, node-2/,
  );
  // held, not detached: one line, no trace
  assert.match((await place.weft("serve", "web", "--node", "2")).err, /^weft: no node "2"; there are node-1, node-2\n$/);
  assert.match((await place.weft("connect", "kernel://he llo")).err, /character 12.*\n {2}kernel:\/\/he llo\n/);
  const connected = await place.weft("connect", "hello", "--detach");
  assert.equal(connected.code, 0, connected.err);
  assert.match(connected.out, /client is connected to hello: .*VXLAN vni \d+, 198\.18\.0\.1 → 198\.18\.0\.2/s);
  await t.test("get", () => checkGet(place));
  await t.test("describe and why", () => checkDescribe(place));
  await t.test("row 10.6: log level changed live in every component", () => checkLogLevel(place));
  await t.test("exec", async () => {
    const names = await place.weft("exec", "client", "--", process.execPath, "-p", "Object.keys(os.networkInterfaces()).join()");
    assert.match(names.out, /lo,.+/);
    assert.equal((await place.weft("exec", "client", "--", "sh", "-c", "exit 7")).code, 7);
    assert.match(
      (await place.weft("exec", "client", "--", "no-such-program")).err,
      /program "no-such-program" is not on this machine/,
    );
    assert.match(
      (await place.weft("exec", "nobody", "true")).err,
      /no pod or node "nobody"; there are hello, client, node-1, node-2/,
    );
  });
  await t.test("row 9.8: the skeletons that are printed run as they are", () => checkSkeletons(place));
  const { code } = await place.weft("doctor");
  assert.equal(code, 0);
  const down = await place.weft("down");
  assert.deepEqual(down, { code: 0, out: "mesh of 2 nodes taken down, nothing is left\n", err: "" });
  assert.equal(await remains(place), "");
});

async function checkGet(place: Place): Promise<void> {
  const items = async (kind: string): Promise<Record<string, unknown>[]> =>
    (JSON.parse((await place.weft("get", kind, "-o", "json")).out) as { items: Record<string, unknown>[] }).items;
  assert.deepEqual(
    (await items("services")).map(({ name }) => name),
    ["hello"],
  );
  assert.deepEqual(
    (await items("endpoints")).map(({ name }) => name),
    ["hello"],
  );
  assert.deepEqual(
    (await items("forwarders")).map(({ name }) => name),
    ["forwarder-1", "forwarder-2"],
  );
  assert.deepEqual(
    (await items("pods")).map(({ name }) => name),
    ["hello", "client"],
  );
  const [connection] = await items("connections");
  assert.equal(connection?.["state"], "UP");
  const yaml = await place.weft("get", "connections", "client", "-o", "yaml");
  assert.deepEqual((parse(yaml.out) as { items: Record<string, unknown>[] }).items[0]?.["id"], connection?.["id"]);
  const wide = await place.weft("get", "connections", "-o", "wide");
  assert.match(wide.out, /client →\(kernel\) forwarder-1 →\(vxlan \d+\) forwarder-2 →\(kernel\) hello/);
  const narrow = await place.weft("get", "connections");
  assert.doesNotMatch(narrow.out, /PATH/);
  const missing = await place.weft("get", "endpoints", "nobody");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /none of the 1 found is called "nobody"/);
}

async function checkDescribe(place: Place): Promise<void> {
  const expected: [string, string, RegExp][] = [
    ["service", "hello", /Endpoints: 1[\s\S]*Connections: 1/],
    ["endpoint", "hello", /Services: +hello[\s\S]*Connections: 1/],
    ["connection", "client", /MTU: +1\d\d\d[\s\S]*forwarder-1 → forwarder-2: VXLAN vni[\s\S]*rxPackets/],
    ["forwarder", "forwarder-1", /Connections: 1[\s\S]*vxlan +yes/],
    ["pod", "client", /vxlan vni \d+ +up +1\d\d\d[\s\S]*172\.16\.0\.1\/32/],
  ];
  await Promise.all(
    expected.map(async ([kind, name, pattern]) => {
      const { code, out, err } = await place.weft("describe", kind, name);
      assert.equal(code, 0, err);
      assert.match(out, pattern);
      assert.match((await place.weft("describe", kind, "no-such")).err, /no .+ "no-such"; there are /);
    }),
  );
  const why = await place.weft("why", "client");
  assert.match(
    why.out,
    /nsmgr-1 on node-1[\s\S]*choose-endpoint +hello +CHOSEN[\s\S]*choose-forwarder +forwarder-1 +CHOSEN|choose-forwarder +forwarder-1 +CHOSEN[\s\S]*choose-endpoint +hello +CHOSEN/,
  );
  const { hops } = JSON.parse((await place.weft("why", "client", "--json")).out) as {
    hops: { name: string; decisions: unknown[] }[];
  };
  assert.deepEqual(
    hops.map(({ name }) => name),
    ["client", "nsmgr-1", "forwarder-1", "nsmgr-2", "forwarder-2", "hello"],
  );
  assert.ok((hops[1]?.decisions.length ?? 0) >= 2);
}

async function checkLogLevel(place: Place): Promise<void> {
  const changed = await place.weft("log-level", "debug");
  assert.equal(changed.code, 0, changed.out);
  const read = await place.weft("log-level");
  for (const name of ["registry", "nsmgr-1", "nsmgr-2", "forwarder-1", "forwarder-2", "hello", "client"]) {
    assert.ok(new RegExp(`^${name} +debug$`, "m").test(read.out), read.out);
  }
}

async function checkSkeletons(place: Place): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "weft-new-"));
  const node = [process.execPath, "--import", import.meta.resolve("tsx")];
  const nsmgr = "unix:///run/weft/node-1/nsm.io.sock";
  try {
    for (const what of ["endpoint", "client"]) {
      const { out } = await place.weft("new", what, "web");
      writeFileSync(join(folder, `${what}.mts`), out.replace("@weft/sdk", `${top}sdk/entry.ts`));
    }
    const endpoint = await place.begin("exec", "hello", "--", ...node, join(folder, "endpoint.mts"), nsmgr);
    await endpoint.said(/web-1 serves web/);
    const client = await place.begin("exec", "client", "--", ...node, join(folder, "client.mts"), nsmgr);
    await client.said(/connected: web-\w+ \[ '172\.16\.1\.1\/32'/);
    await endpoint.said(/is on web-/);
    const pids = await place.run("sh", "-c", `for p in $(pgrep -f ${folder}); do [ "$p" != $$ ] && kill -INT "$p"; done; true`);
    assert.equal(pids.code, 0);
    assert.equal((await client.finished).code, 0);
    assert.equal((await endpoint.finished).code, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("connect and serve in the foreground hold until interrupted; get --watch tells of both", { timeout: 110_000 }, async (t) => {
  const place = await openPlace(t);
  assert.equal((await place.weft("up", "--nodes", "1")).code, 0);
  const watch = await place.begin("get", "connections", "--watch", "-o", "json");
  await watch.said(/"items":\[\]/);
  const bob = await place.begin("connect", "missing", "--pod", "bob", "--timeout", "0");
  await bob.said(/^bob waits: NOT_FOUND: .*network service "missing" is not registered/m);
  await bob.signal("INT");
  await bob.finished;
  const gaveUp = await place.weft("connect", "missing", "--pod", "carol", "--timeout", "1s");
  assert.equal(gaveUp.code, 1);
  assert.match(gaveUp.err, /client of kernel:\/\/missing is not there after 1 s/);
  const serve = await place.begin("serve", "hello", "--node", "node-1");
  await serve.said(/hello serves hello on node-1/);
  const connect = await place.begin("connect", "kernel://hello/eth-hello", "--pod", "alice");
  await connect.said(/alice is connected to hello: eth-hello/);
  await watch.said(/"client":"alice".*"state":"UP"/);
  await connect.signal("INT");
  assert.equal((await connect.finished).code, 0);
  await serve.signal("TERM");
  assert.equal((await serve.finished).code, 0);
  assert.match((await place.weft("get", "pods")).out, /^no pods$/m);
  await watch.signal("INT");
  const { code, out } = await watch.finished;
  assert.equal(code, 0);
  for (const line of out.trim().split("\n").slice(1)) JSON.parse(line);
});

test("a mesh whose supervisor was killed is found, explained and removed; up starts over it", { timeout: 110_000 }, async (t) => {
  const place = await openPlace(t);
  assert.equal((await place.weft("up", "--nodes", "1")).code, 0);
  await killSupervisor(place);
  const doctor = await place.weft("doctor");
  assert.equal(doctor.code, 1);
  assert.match(doctor.out, /WRONG +local mesh +\d+ namespaces and 3 processes of a crashed mesh; `weft down` removes them/);
  const again = await place.weft("up", "--nodes", "1");
  assert.equal(again.code, 0, again.err);
  assert.match(again.out, /removed what an earlier run left: 2 namespaces, 3 processes/);
  await killSupervisor(place);
  const down = await place.weft("down");
  assert.equal(down.code, 0);
  assert.match(down.out, /removed what was left of a mesh: 2 namespaces, 3 processes/);
  assert.equal(await remains(place), "");
});

async function killSupervisor(place: Place): Promise<void> {
  const { pid } = JSON.parse((await place.run("cat", "/run/weft/mesh.json")).out) as { pid: number };
  assert.equal((await place.run("kill", "-KILL", String(pid))).code, 0);
}

/** Files, namespaces, and processes but the shell that holds the place, this one and its pipe. */
async function remains(place: Place): Promise<string> {
  const { out } = await place.run(
    "sh",
    "-c",
    "ls -d /run/weft /run/netns/weft-* 2>/dev/null; ps -eo args | grep weft.mjs | grep -v grep",
  );
  return out;
}
