import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { watchLinks } from "../../../sdk/linux/netlink/link-events.js";
import { deleteLink, setLink } from "../../../sdk/linux/netlink/links.js";
import { deleteNamedNetns } from "../../../sdk/linux/netns.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { crossConnect, linkIn, type Namespace, namespace, noSignal, numbered, stateFolder } from "../compliance-world.js";
import type { DataPlane, DataPlaneEvent } from "../dataplane.js";
import { createKernelDataPlane } from "./kernel.js";

const breaks: { why: string; act: (pods: Pods) => void | Promise<void>; reason: RegExp }[] = [
  {
    why: "the client's interface is set down",
    act: ({ client }) => setDown(client, "nsm-1"),
    reason: /client interface nsm-1 .* was set down/,
  },
  {
    why: "the endpoint's interface is set down",
    act: ({ endpoint }) => setDown(endpoint, "nse-1"),
    reason: /has lost its link|was set down/,
  },
  { why: "the endpoint's interface is deleted", act: ({ endpoint }) => deleteByHand(endpoint, "nse-1"), reason: /is gone/ },
  { why: "the endpoint's namespace ends", act: ({ endpoint }) => endpoint.end(), reason: /is gone|has ended/ },
];
for (const { why, act, reason } of breaks) {
  test(`row 7.7: a break is told once: ${why}`, async (t) => {
    const { pods, events } = await start(t);
    await act(pods);
    const event = await events.next();
    assert.equal(event.id, "c1");
    assert.match(event.reason, reason);
    assert.equal(events.waiting(), 0);
  });
  test(`what was broken while nobody listened is told at once: ${why}`, async (t) => {
    const { pods, dataPlane } = await start(t, "nobody listens");
    await act(pods);
    const events = listen(t, dataPlane);
    assert.match((await events.next()).reason, reason);
  });
}

test("a repaired cross-connect may break again, and is told again", async (t) => {
  const { pods, dataPlane, events, made } = await start(t);
  for (let generation = 2; generation < 5; generation++) {
    setDown(pods.client, "nsm-1");
    assert.equal((await events.next()).id, "c1");
    await dataPlane.ensure({ ...made, generation }, noSignal);
    assert.ok(linkIn(pods.client, "nsm-1")?.up);
  }
  assert.equal(events.waiting(), 0);
});

test("our own work is no break: refresh, change, replacement, removal", async (t) => {
  const { pods, dataPlane, events, made } = await start(t);
  const third = namespace(t, "third");
  await dataPlane.ensure({ ...made, generation: 2, mtuBytes: 1300 }, noSignal);
  await dataPlane.ensure({ ...made, generation: 3, ...numbered(pods.client, third) }, noSignal);
  await dataPlane.remove("c1", noSignal);
  // Events come in order: when this break has been told, the others would have been.
  await dataPlane.ensure(crossConnect("c2", numbered(pods.client, third)), noSignal);
  setDown(pods.client, "nsm-1");
  assert.equal((await events.next()).id, "c2");
});

test("listening ends with its signal, and with the data plane", async (t) => {
  const dataPlane = createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog });
  const controller = new AbortController();
  const first = collect(dataPlane.events(controller.signal));
  const second = collect(dataPlane.events(noSignal));
  controller.abort();
  assert.deepEqual(await first, []);
  await dataPlane.close();
  assert.deepEqual(await second, []);
});

test("removing many cross-connects leaves the event loop free", async (t) => {
  const dataPlane = createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog });
  t.after(() => dataPlane.close());
  const endpoint = namespace(t, "endpoint");
  const count = 20;
  for (let index = 0; index < count; index++) {
    const ports = numbered(namespace(t, "client"), endpoint, index);
    await dataPlane.ensure(
      crossConnect(`c${index}`, { ...ports, endpoint: { ...ports.endpoint, interfaceName: `nse-${index}` } }),
      noSignal,
    );
  }
  let turns = 0;
  let removing = true;
  const counting = (async () => {
    for (; removing; turns++) await new Promise((resolve) => setImmediate(resolve));
  })();
  await Promise.all(Array.from({ length: count }, (_, index) => dataPlane.remove(`c${index}`, noSignal)));
  removing = false;
  await counting;
  assert.ok(turns > count, `${turns} turns of the event loop: a deletion that blocks leaves about one each`);
});

test("what joined a pod to others is looked at and taken away without going into the pod's namespace, when no path leads there any more", async (t) => {
  const dataPlane = createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog });
  t.after(() => dataPlane.close());
  const events = listen(t, dataPlane);
  const endpoint = namespace(t, "endpoint");
  const clients = [1, 2, 3].map(() => namespace(t, "client"));
  for (const [index, client] of clients.entries()) {
    const ports = numbered(client, endpoint, index);
    const port = { ...ports.endpoint, interfaceName: `nse-${index}` };
    await dataPlane.ensure(crossConnect(`c${index}`, { ...ports, endpoint: port }), noSignal);
  }
  // It lives on by the socket of the test.
  deleteNamedNetns(endpoint.name);
  let visits = 0;
  const count = ({ namespace: where }: { readonly namespace: number | undefined }): void => {
    if (where === undefined) visits += 1;
  };
  const watch = watchLinks({ link: count, namespaceEnded: () => {}, overrun: () => assert.fail("events were lost") });
  t.after(() => watch.close());
  setDown(endpoint, "nse-1");
  const { id, reason } = await events.next();
  assert.equal(id, "c1");
  assert.match(reason, /has lost its link|was set down/);
  await Promise.all(clients.map((_, index) => dataPlane.remove(`c${index}`, noSignal)));
  for (const client of clients) assert.equal(linkIn(client, "nsm-1"), undefined);
  watch.drain();
  // To find a namespace by its number an interface is made at home and sent ahead; it takes 40 ms in which nobody works on interfaces.
  assert.equal(visits, 0);
});

interface Pods {
  readonly client: Namespace;
  readonly endpoint: Namespace;
}

async function start(t: TestContext, listening: "listening" | "nobody listens" = "listening") {
  const pods = { client: namespace(t, "client"), endpoint: namespace(t, "endpoint") };
  const dataPlane = createKernelDataPlane({ stateDir: stateFolder(t), log: silentLog });
  t.after(() => dataPlane.close());
  const made = crossConnect("c1", numbered(pods.client, pods.endpoint));
  const events = listening === "listening" ? listen(t, dataPlane) : { next: () => assert.fail(), waiting: () => 0 };
  await dataPlane.ensure(made, noSignal);
  return { pods, dataPlane, made, events };
}

function listen(t: TestContext, dataPlane: DataPlane): { next(): Promise<DataPlaneEvent>; waiting(): number } {
  const controller = new AbortController();
  t.after(() => controller.abort());
  const seen: DataPlaneEvent[] = [];
  const waiters: ((event: DataPlaneEvent) => void)[] = [];
  void (async () => {
    for await (const event of dataPlane.events(controller.signal)) {
      const waiter = waiters.shift();
      if (waiter === undefined) seen.push(event);
      else waiter(event);
    }
  })();
  return {
    waiting: () => seen.length,
    next: async () => seen.shift() ?? (await new Promise((resolve) => waiters.push(resolve))),
  };
}

async function collect(events: AsyncIterable<DataPlaneEvent>): Promise<DataPlaneEvent[]> {
  const all: DataPlaneEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function setDown(place: Namespace, name: string): void {
  place.socket.perform([setLink(linkIn(place, name)?.index ?? 0, { up: false })]);
}

async function deleteByHand(place: Namespace, name: string): Promise<void> {
  await place.socket.performOnThread([deleteLink(linkIn(place, name)?.index ?? 0)]);
}
