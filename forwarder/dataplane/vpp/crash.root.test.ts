/** What happens to connections when VPP dies, hangs, forgets, or the forwarder is started again; with a real VPP. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withNetns } from "../../../sdk/linux/netns.js";
import { createLog } from "../../../sdk/telemetry/log.js";
import { until } from "../../../sdk/testing/until.js";
import { connectVpp } from "../../vpp/client.js";
import { defaultTimes } from "../../vpp/host.js";
import { ended, processState } from "../../vpp/process.js";
import { findRealVpp } from "../../vpp/testing/real-vpp.js";
import {
  crossConnect,
  linkIn,
  type Namespace,
  namespace,
  noSignal,
  numbered,
  pings,
  stateFolder,
  twoNodes,
} from "../compliance-world.js";
import type { CrossConnect, DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createVppDataPlane, type VppDataPlaneOptions } from "./vpp.js";

const { program, skip } = findRealVpp(process.env);

interface Opened {
  readonly plane: DataPlane;
  readonly lines: string[];
}

function open(stateDir: string, options: Partial<VppDataPlaneOptions> = {}): Opened {
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line) => lines.push(line) } });
  const beneath = createKernelDataPlane({ stateDir, log });
  return { plane: createVppDataPlane({ stateDir, log, beneath, command: [program], ...options }), lines };
}

async function pidOf(stateDir: string): Promise<number> {
  const api = await connectVpp({ socketPath: join(stateDir, "vpp/api.sock") });
  await api.close();
  return api.pid;
}

async function connected(t: TestContext, options: Partial<VppDataPlaneOptions> = {}) {
  const stateDir = stateFolder(t);
  const opened = open(stateDir, { ephemeral: true, ...options });
  t.after(() => opened.plane.close());
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const made = crossConnect("c1", numbered(client, endpoint));
  await opened.plane.ensure(made, noSignal);
  assert.ok(await pings(client, "172.16.0.0"));
  return { stateDir, client, endpoint, made, ...opened };
}

async function answersAgain(client: Namespace): Promise<void> {
  await until("an answer through the next VPP", () => pings(client, "172.16.0.0"), 20_000);
}

test("row 7.13: VPP killed with SIGKILL is started again and told everything; interfaces stay, counters go on", {
  skip,
}, async (t) => {
  const { stateDir, client, plane } = await connected(t);
  const link = linkIn(client, "nsm-1")?.index;
  const before = await plane.counters("c1");
  const pid = await pidOf(stateDir);
  process.kill(pid, "SIGKILL");
  await answersAgain(client);
  assert.notEqual(await pidOf(stateDir), pid);
  assert.equal(linkIn(client, "nsm-1")?.index, link, "the workload's interface is the same");
  const after = await plane.counters("c1");
  assert.ok(before !== undefined && after !== undefined && after.txPackets > before.txPackets);
  assert.equal(plane.list().length, 1);
});

test("row 7.13: VPP that hangs is told apart from a dead one, ended and replaced", { skip }, async (t) => {
  const times = { ...defaultTimes, pingMs: 100, hangMs: 1_000 };
  const { stateDir, client, lines } = await connected(t, { times });
  const pid = await pidOf(stateDir);
  process.kill(pid, "SIGSTOP");
  await answersAgain(client);
  const told = lines.filter((line) => /VPP/.test(line)).join("\n");
  assert.match(told, new RegExp(`VPP hangs: no answer for \\d+ ms, its process ${pid} is in state T`));
  assert.equal(processState(pid), undefined);
});

test("VPP that forgets is noticed at the next refresh and told again", { skip }, async (t) => {
  const { stateDir, client, plane, made } = await connected(t);
  const api = await connectVpp({ socketPath: join(stateDir, "vpp/api.sock") });
  const details = await api.dump("af_packet_dump");
  for (const { sw_if_index: index = 0 } of details) {
    const [found] = await api.dump("sw_interface_dump", { sw_if_index: index });
    await api.call("af_packet_delete", { host_if_name: String(found?.["interface_name"]).replace(/^host-/, "") });
  }
  await api.close();
  assert.equal(await pings(client, "172.16.0.0"), false);
  await plane.ensure({ ...made, generation: 2 }, noSignal);
  assert.ok(await pings(client, "172.16.0.0"));
});

test("row 7.1: a restarted forwarder takes over what VPP has, by tags, without making anything anew; leftovers go", {
  skip,
}, async (t) => {
  const stateDir = stateFolder(t);
  const [client, endpoint, third] = ["client", "endpoint", "third"].map((hint) => namespace(t, hint)) as [
    Namespace,
    Namespace,
    Namespace,
  ];
  const first = open(stateDir).plane;
  let isFirstOpen = true;
  t.after(() => (isFirstOpen ? first.close() : undefined));
  await first.recover(0);
  const kept = crossConnect("c1", numbered(client, endpoint));
  const expired = { ...crossConnect("c2", numbered(third, endpoint, 2)), expiresAtMs: 5 };
  const other: CrossConnect = {
    ...expired,
    endpoint: { ...expired.endpoint, interfaceName: "nse-2" } as CrossConnect["endpoint"],
  };
  await first.ensure(kept, noSignal);
  await first.ensure(other, noSignal);
  const pid = await pidOf(stateDir);
  isFirstOpen = false;
  await first.close();
  assert.ok(await pings(client, "172.16.0.0"), "packets flow while no forwarder is there");
  const api = await connectVpp({ socketPath: join(stateDir, "vpp/api.sock") });
  t.after(() => api.close());
  const inVpp = async (): Promise<unknown[]> =>
    (await api.dump("sw_interface_dump", { sw_if_index: 0xffffffff })).map((each) => [each["sw_if_index"], each["tag"]]);
  const before = await inVpp();
  assert.equal(before.length, 5);
  const second = open(stateDir, { ephemeral: true }).plane;
  t.after(() => second.close());
  assert.deepEqual((await second.recover(10)).adopted, [kept]);
  assert.equal(await pidOf(stateDir), pid);
  assert.deepEqual(await inVpp(), before.slice(0, 3), "what is kept is the same, what has expired is gone");
  assert.ok(await pings(client, "172.16.0.0"));
});

test("row 1.20: a VPP that somebody else runs is used, no other is started, and it is left as it was", { skip }, async (t) => {
  const theirs = stateFolder(t);
  const owner = open(theirs, { ephemeral: true }).plane;
  t.after(() => owner.close());
  await owner.mechanisms();
  const pid = await pidOf(theirs);
  const stateDir = stateFolder(t);
  const { plane } = open(stateDir, { command: undefined, apiSocket: join(theirs, "vpp/api.sock") });
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
  assert.ok(await pings(client, "172.16.0.0"));
  assert.ok(!readdirSync(stateDir).includes("vpp"), "nothing was started there");
  await plane.remove("c1", noSignal);
  await plane.close();
  const api = await connectVpp({ socketPath: join(theirs, "vpp/api.sock") });
  t.after(() => api.close());
  assert.equal(api.pid, pid);
  assert.equal((await api.dump("sw_interface_dump", { sw_if_index: 0xffffffff })).length, 1);
});

test("row 1.21: pinholes are open for the tunnels' ports alone, and go with the last tunnel", { skip }, async (t) => {
  const { one, address } = twoNodes(t);
  const stateDir = stateFolder(t);
  const plane = withNetns(one.netns, () => open(stateDir, { ephemeral: true }).plane);
  t.after(() => plane.close());
  const pods = ["a", "b"].map((hint) => namespace(t, hint)) as [Namespace, Namespace];
  const ensure = (id: string, pod: Namespace, udpPort: number): Promise<void> => {
    const endpoint = { kind: "vxlan", vni: 7, udpPort, localAddress: address(1), remoteAddress: address(2) } as const;
    return plane.ensure(crossConnect(id, { client: numbered(pod, pod).client, endpoint }), noSignal);
  };
  await ensure("a", pods[0], 4801);
  await ensure("b", pods[1], 4802);
  const api = await connectVpp({ socketPath: join(stateDir, "vpp/api.sock") });
  t.after(() => api.close());
  const acls = async () => await api.dump("acl_dump", { acl_index: 0xffffffff });
  const permitted = async (): Promise<unknown[]> =>
    (await acls()).map(({ r }) =>
      (r as readonly Record<string, unknown>[])
        .filter((rule) => rule["is_permit"] === 1 && rule["proto"] === 17)
        .map((rule) => rule["dstport_or_icmpcode_first"]),
    );
  assert.deepEqual(await permitted(), [
    [4801, 4802],
    [4801, 4802],
  ]);
  for (const { r } of await acls()) assert.equal((r as readonly Record<string, unknown>[]).at(-1)?.["is_permit"], 0);
  await plane.remove("a", noSignal);
  assert.deepEqual(await permitted(), [[4802], [4802]]);
  await plane.remove("b", noSignal);
  assert.deepEqual(await acls(), []);
  assert.equal((await api.dump("sw_interface_dump", { sw_if_index: 0xffffffff })).length, 1);
});

test("a program that is no VPP, or does not start, is refused with its last words", { skip }, async (t) => {
  const plane = open(stateFolder(t), { command: ["/bin/sh", "-c", "echo the heap is too small; exit 3"] }).plane;
  t.after(() => plane.close());
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  await assert.rejects(plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal), {
    details: /does not start: it ended with code 3.*the heap is too small/,
  });
  assert.equal(linkIn(client, "nsm-1"), undefined);
  const capabilities = await plane.capabilities();
  assert.equal(capabilities.find(({ name }) => name === "vpp")?.supported, "no");
});

test("no process, no file in /dev/shm and no socket is left by a VPP of ours that is ended", { skip }, async (t) => {
  const stateDir = stateFolder(t);
  const { plane } = open(stateDir);
  await plane.mechanisms();
  const pid = await pidOf(stateDir);
  const shm = (): string[] => readdirSync("/dev/shm").filter((name) => name.startsWith("weft-"));
  const before = shm();
  await plane.close();
  assert.ok(await ended(pid, 1_000));
  assert.ok(shm().length < before.length || before.length === 0);
  assert.deepEqual(
    readdirSync(join(stateDir, "vpp")).filter((name) => name.endsWith(".sock")),
    [],
  );
});
