/** The data plane against a server of ours that speaks VPP's protocol (it is no VPP): what is asked, kept, and asked again. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code } from "../../../sdk/status.js";
import { createLog } from "../../../sdk/telemetry/log.js";
import { until } from "../../../sdk/testing/until.js";
import { defaultTimes } from "../../vpp/host.js";
import { type FakeOptions, type FakeVpp, startFakeVpp } from "../../vpp/testing/fake-vpp.js";
import type { CrossConnect, DataPlane, MemifPort } from "../dataplane.js";
import { createNoDataPlane } from "../none.js";
import { createVppDataPlane, type VppDataPlaneOptions } from "./vpp.js";

const noSignal = new AbortController().signal;
const memif = (name: string, role: MemifPort["role"]): MemifPort => ({
  kind: "memif",
  role,
  socketFile: `@${name}`,
  netnsUrl: "",
});
const connect = (id: string, change: Partial<CrossConnect> = {}): CrossConnect => ({
  id,
  generation: 1,
  payload: "ETHERNET",
  mtuBytes: 1400,
  client: memif(`${id}-client`, "server"),
  endpoint: memif(`${id}-endpoint`, "client"),
  expiresAtMs: 8_640_000_000_000_000,
  record: new Uint8Array(),
  ...change,
});

interface World {
  readonly folder: string;
  vpp: FakeVpp;
  readonly lines: string[];
  open(options?: Partial<VppDataPlaneOptions>): DataPlane;
  /** A new server in the place of the last, with nothing in it. */
  again(): Promise<void>;
}

async function world(t: TestContext, fake: Omit<FakeOptions, "socketPath"> = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "wt-vpp-"));
  const socketPath = join(folder, "api.sock");
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line) => lines.push(line) } });
  const made: World = {
    folder,
    lines,
    vpp: await startFakeVpp({ socketPath, ...fake }),
    open(options = {}) {
      const plane = createVppDataPlane({
        stateDir: folder,
        log,
        beneath: createNoDataPlane(),
        apiSocket: socketPath,
        directMemif: false,
        ...options,
      });
      t.after(() => plane.close());
      return plane;
    },
    async again() {
      await made.vpp.close();
      made.vpp = await startFakeVpp({ socketPath, ...fake });
    },
  };
  t.after(async () => {
    await made.vpp.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return made;
}

function ours({ vpp }: World): string[] {
  return [...vpp.state.interfaces.values()]
    .filter(({ index }) => index !== 0)
    .map(({ type, tag }) => `${type} ${tag.split(" ")[0]}`);
}

test("a cross-connect is two tagged interfaces that are up and joined both ways, and removing leaves nothing", async (t) => {
  const here = await world(t);
  const plane = here.open();
  await plane.ensure(connect("c1"), noSignal);
  assert.deepEqual(ours(here), ["memif weft", "memif weft"]);
  const [a, b] = [...here.vpp.state.interfaces.values()].slice(1);
  assert.ok(a !== undefined && b !== undefined);
  assert.deepEqual(
    [...here.vpp.state.crossConnects].sort(),
    [
      [a.index, b.index],
      [b.index, a.index],
    ].sort(),
  );
  assert.deepEqual(
    [a.flags & 1, a.mtu, [...here.vpp.state.sockets.values()].slice(1)],
    [1, [1400, 1400, 1400, 1400], ["abstract:c1-client", "abstract:c1-endpoint"]],
  );
  await plane.remove("c1", noSignal);
  assert.deepEqual([ours(here), here.vpp.state.crossConnects.size, here.vpp.state.sockets.size, plane.list()], [[], 0, 1, []]);
});

test("a refresh changes nothing in VPP", async (t) => {
  const here = await world(t);
  const plane = here.open();
  await plane.ensure(connect("c1"), noSignal);
  const before = here.vpp.heard.length;
  await plane.ensure(connect("c1", { generation: 2 }), noSignal);
  const asked = new Set(here.vpp.heard.slice(before));
  assert.deepEqual([...asked].sort(), ["control_ping", "sw_interface_dump"]);
});

test("payload IP is joined on layer 3, and both families", async (t) => {
  const here = await world(t);
  await here.open().ensure(connect("c1", { payload: "IP" }), noSignal);
  assert.deepEqual([here.vpp.state.crossConnects.size, here.vpp.state.l3.size], [0, 4]);
});

test("row 7.13: a VPP that comes back empty is told everything again; one that comes back as it was is told nothing", async (t) => {
  const here = await world(t);
  const plane = here.open();
  await plane.ensure(connect("c1"), noSignal);
  await plane.ensure(connect("c2"), noSignal);
  await here.again();
  await until("both in the new one", () => ours(here).length === 4 && here.vpp.state.crossConnects.size === 4);
  const before = [...here.vpp.state.interfaces.keys()];
  const created = (): number => here.vpp.heard.filter((name) => name.startsWith("memif_create")).length;
  assert.equal(created(), 4);
  const greetings = here.vpp.heard.filter((name) => name === "sockclnt_create").length;
  here.vpp.die();
  await until("the next connection", () => here.vpp.heard.filter((name) => name === "sockclnt_create").length > greetings);
  await until("an end", () => here.lines.some((line) => /VPP is lost/.test(line)));
  await plane.ensure(connect("c1", { generation: 2 }), noSignal);
  await plane.ensure(connect("c2", { generation: 2 }), noSignal);
  assert.deepEqual([created(), [...here.vpp.state.interfaces.keys()]], [4, before]);
});

test("a VPP that hangs fails the request in time, and what was there stays known", async (t) => {
  const here = await world(t);
  const plane = here.open({ times: { ...defaultTimes, callMs: 1_500, hangMs: 60_000 } });
  await plane.ensure(connect("c1"), noSignal);
  here.vpp.hang();
  await assert.rejects(plane.ensure(connect("c2"), noSignal), { code: Code.DEADLINE_EXCEEDED, details: /did not answer/ });
  assert.deepEqual(
    plane.list().map(({ id }) => id),
    ["c1"],
  );
  here.vpp.wake();
  await plane.ensure(connect("c2"), noSignal);
  assert.equal(here.vpp.state.crossConnects.size, 4);
});

test("a silent VPP counts as hanging after its time, and is connected to anew", async (t) => {
  const here = await world(t);
  const plane = here.open({ times: { ...defaultTimes, callMs: 1_500, pingMs: 20, hangMs: 1_500 } });
  await plane.ensure(connect("c1"), noSignal);
  here.vpp.hang();
  await until("the verdict", () => here.lines.some((line) => /VPP hangs: no answer for \d+ ms/.test(line)));
  here.vpp.wake();
  await until("another connection", () => here.vpp.heard.filter((name) => name === "sockclnt_create").length > 1);
  await plane.ensure(connect("c1", { generation: 2 }), noSignal);
  assert.equal(ours(here).length, 2);
});

test("row 7.1: a forwarder that starts again takes over by tags, and leftovers of its own go; others' stay", async (t) => {
  const here = await world(t);
  const first = here.open();
  await first.ensure(connect("c1"), noSignal);
  await first.ensure(connect("c2", { expiresAtMs: 5 }), noSignal);
  await first.close();
  const state = here.vpp.state;
  state.answer("af_packet_create_v3", { host_if_name: "theirs" });
  const before = [...state.interfaces.keys()];
  const second = here.open();
  const { adopted } = await second.recover(10);
  assert.deepEqual(
    adopted.map(({ id }) => id),
    ["c1"],
  );
  assert.deepEqual([...state.interfaces.keys()], [...before.slice(0, 3), before.at(-1)]);
  assert.equal(here.vpp.heard.filter((name) => name.startsWith("memif_create")).length, 4);
});

test("a VPP without a plugin builds what it can and says what is missing", async (t) => {
  const here = await world(t, { offer: (name) => (/^(wireguard|vxlan|acl)_/.test(name) ? undefined : name) });
  const plane = here.open();
  assert.deepEqual(await plane.mechanisms(), ["KERNEL", "MEMIF"]);
  const line = (await plane.capabilities()).find(({ name }) => name === "vpp");
  assert.match(line?.detail ?? "", /26\.06-fake, another's.*not loaded: acl_plugin.so, vxlan_plugin.so, wireguard_plugin.so/);
});

test("a VPP that lacks what every connection needs is refused, with the versions that have it", async (t) => {
  const here = await world(t, { offer: (name) => (name.startsWith("sw_interface_set_l2_xconnect") ? undefined : name) });
  await assert.rejects(here.open().ensure(connect("c1"), noSignal), {
    code: Code.FAILED_PRECONDITION,
    details: /lacks sw_interface_set_l2_xconnect; use a version from 22.06/,
  });
});

test("a socket name that VPP would cut off is refused", async (t) => {
  const here = await world(t);
  const client = memif("with space", "server");
  await assert.rejects(here.open().ensure(connect("c1", { client }), noSignal), {
    code: Code.INVALID_ARGUMENT,
    details: /" " in it/,
  });
});

test("an interface that somebody deletes in VPP is told as broken", async (t) => {
  const here = await world(t);
  const plane = here.open();
  await plane.ensure(connect("c1"), noSignal);
  const ending = new AbortController();
  const events = plane.events(ending.signal)[Symbol.asyncIterator]();
  const next = events.next();
  here.vpp.tell("sw_interface_event", { sw_if_index: [...here.vpp.state.interfaces.keys()][1] ?? 0, deleted: true });
  const { value } = await next;
  ending.abort();
  assert.match(JSON.stringify(value), /"id":"c1".*has been deleted/);
});
