import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code } from "../../sdk/status.js";
import { type ConnectOptions, connectVpp, type VppApi } from "./client.js";
import { frame, maxMessageBytes } from "./frames.js";
import { isRefusal } from "./refusals.js";
import { type FakeOptions, type FakeVpp, startFakeVpp } from "./testing/fake-vpp.js";

const all = 0xffffffff;

async function fake(t: TestContext, options: Omit<FakeOptions, "socketPath"> = {}): Promise<FakeVpp> {
  const folder = mkdtempSync(join(tmpdir(), "wt-vpp-"));
  const vpp = await startFakeVpp({ socketPath: join(folder, "api.sock"), ...options });
  t.after(async () => {
    await vpp.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return vpp;
}

async function connected(t: TestContext, vpp: FakeVpp, options: Partial<ConnectOptions> = {}): Promise<VppApi> {
  const api = await connectVpp({ socketPath: vpp.socketPath, ...options });
  t.after(() => api.close());
  return api;
}

test("calls, dumps and refusals go over one pipeline, whatever the numbers of the messages", async (t) => {
  const vpp = await fake(t);
  const api = await connected(t, vpp);
  assert.deepEqual([api.pid, api.version], [process.pid, "26.06-fake"]);
  const [socket, dump, refused] = await Promise.all([
    api.call("memif_socket_filename_add_del_v2", { is_add: true, socket_id: all, socket_filename: "@one" }),
    api.dump("sw_interface_dump", { sw_if_index: all }),
    api.call("memif_delete", { sw_if_index: 9 }).catch((error: unknown) => error),
  ]);
  assert.deepEqual([socket["socket_id"], dump.map((each) => each["interface_name"])], [1, ["local0"]]);
  assert.ok(isRefusal(refused, -2));
  assert.match(String(refused), /memif_delete: return value -2; no such interface/);
  const names = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const made = await api.call("af_packet_create_v3", { host_if_name: `if${index}` });
      const details = await api.dump("sw_interface_dump", { sw_if_index: made["sw_if_index"] ?? 0 });
      return details[0]?.["interface_name"];
    }),
  );
  assert.deepEqual(
    names,
    Array.from({ length: 200 }, (_, index) => `host-if${index}`),
  );
  assert.equal(api.pending(), 0);
});

test("answers that come in pieces of one byte are put together", async (t) => {
  const vpp = await fake(t, { chunkBytes: 1 });
  const api = await connected(t, vpp);
  const found = await api.dump("sw_interface_dump", { sw_if_index: all });
  assert.equal(found[0]?.["interface_name"], "local0");
});

test("a VPP that hangs is told apart from one that dies, and both end every call", async (t) => {
  const vpp = await fake(t);
  const api = await connected(t, vpp, { timeoutMs: 1_500 });
  const lost: string[] = [];
  api.onLost((reason) => lost.push(reason));
  vpp.hang();
  await assert.rejects(api.call("control_ping"), { code: Code.DEADLINE_EXCEEDED, details: /whether it was done is not known/ });
  assert.deepEqual(lost, []);
  vpp.wake();
  await api.call("control_ping");
  vpp.hang();
  const waiting = [api.call("control_ping"), api.dump("sw_interface_dump", { sw_if_index: all })];
  const ended = Promise.all(waiting.map((each) => assert.rejects(each, { code: Code.UNAVAILABLE, details: /has ended/ })));
  vpp.die();
  await ended;
  assert.equal(lost.length, 1);
  await assert.rejects(api.call("control_ping"), { code: Code.UNAVAILABLE });
});

test("a VPP that hangs during the handshake, or is none, or is not there, is refused in time with the reason", async (t) => {
  const vpp = await fake(t);
  vpp.hang();
  const options = { socketPath: vpp.socketPath, timeoutMs: 200 };
  await assert.rejects(connectVpp(options), { code: Code.DEADLINE_EXCEEDED, details: /hangs/ });
  await assert.rejects(connectVpp({ socketPath: `${vpp.socketPath}-not` }), {
    code: Code.UNAVAILABLE,
    details: /ENOENT.*socksvr/,
  });
});

test("another version is met message by message: what it lacks is named, with the plugin or the files that help", async (t) => {
  const vpp = await fake(t, {
    offer(name) {
      if (name.startsWith("memif_create_v2") || name.startsWith("wireguard")) return undefined;
      return name.startsWith("l3xc_update_") ? "l3xc_update_deadbeef" : name;
    },
  });
  const api = await connected(t, vpp);
  assert.deepEqual(["memif_create", "memif_create_v2", "l3xc_update", "wireguard_peer_add"].map(api.offers), [
    true,
    false,
    false,
    false,
  ]);
  const lacks = { code: Code.FAILED_PRECONDITION };
  await assert.rejects(api.call("wireguard_peer_add"), { ...lacks, details: /enable wireguard_plugin.so in its start.conf/ });
  await assert.rejects(api.call("l3xc_update"), { ...lacks, details: /l3xc_update_deadbeef.*WEFT_VPP_API_FILES/ });
});

test("garbage ends the connection and nothing else: lengths without end, messages without an id, answers cut short", async (t) => {
  const head = (length: number): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt32BE(length, 8);
    return bytes;
  };
  for (const bytes of [head(maxMessageBytes + 1), head(0), head(1), Buffer.alloc(64, 0xff)]) {
    const vpp = await fake(t);
    const api = await connected(t, vpp);
    const lost = new Promise<string>((resolve) => api.onLost(resolve));
    vpp.hang();
    const waiting = assert.rejects(api.call("control_ping"), { code: Code.UNAVAILABLE, details: /cannot be read/ });
    vpp.send(bytes);
    assert.match(await lost, /cannot be read/);
    await waiting;
  }
  const vpp = await fake(t);
  const api = await connected(t, vpp);
  // Unknown ids and unasked answers are nobody's.
  vpp.send(frame(Buffer.from([0xff, 0xff, 0, 0, 0, 9])));
  vpp.send(frame(Buffer.alloc(40)));
  await api.call("control_ping");
  vpp.send(frame(Buffer.alloc(2)));
  await api.call("control_ping");
});

test("an answer that is shorter than it should be fails its call alone", async (t) => {
  const vpp = await fake(t);
  const api = await connected(t, vpp);
  vpp.hang();
  const waiting = api.call("memif_socket_filename_add_del_v2", { is_add: true, socket_id: all, socket_filename: "@x" });
  const failed = assert.rejects(waiting, { code: Code.DATA_LOSS, details: /cannot be read/ });
  const reply = vpp.idOf("memif_socket_filename_add_del_v2_reply") ?? 0;
  const cut = Buffer.alloc(8);
  cut.writeUInt16BE(reply, 0);
  // After the first ping and the question for the version.
  cut.writeUInt32BE(3, 2);
  vpp.send(frame(cut));
  await failed;
  vpp.wake();
  await api.call("control_ping");
});

test("a call with a field that the message lacks, or of the wrong kind, is not sent", async (t) => {
  const vpp = await fake(t);
  const api = await connected(t, vpp);
  const before = vpp.heard.length;
  await assert.rejects(api.call("memif_delete", { sw_if_inex: 1 }), /no field sw_if_inex/);
  await assert.rejects(api.call("memif_delete", { sw_if_index: "1" }), /is no number/);
  await assert.rejects(api.call("acl_add_replace", { acl_index: 0, tag: "x".repeat(64) }), /room for 63 bytes/);
  await assert.rejects(api.call("acl_interface_set_acl_list", { sw_if_index: 0, count: 2, acls: [1] }), /has 1 entries/);
  assert.equal(vpp.heard.length, before);
});

test("events come between answers", async (t) => {
  const vpp = await fake(t);
  const api = await connected(t, vpp);
  const seen: unknown[] = [];
  const end = api.onEvent("sw_interface_event", (values) => seen.push([values["sw_if_index"], values["flags"]]));
  vpp.tell("sw_interface_event", { sw_if_index: 5, flags: 3 });
  await api.call("control_ping");
  end();
  vpp.tell("sw_interface_event", { sw_if_index: 6, flags: 0 });
  await api.call("control_ping");
  assert.deepEqual(seen, [[5, 3]]);
});
