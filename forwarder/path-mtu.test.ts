import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock } from "../sdk/clock.js";
import { Connection, State } from "../sdk/gen/connection.js";
import { createMonitorHub } from "../sdk/monitor/hub.js";
import { silentLog } from "../sdk/telemetry/log.js";
import type { CrossConnect } from "./dataplane/dataplane.js";
import { followPathMtus } from "./path-mtu.js";

test("row 1.24: a path that has changed refreshes its connections and no others; one that cannot be measured changes nothing", async () => {
  const hub = createMonitorHub();
  const sizes = new Map<string, number | undefined>([
    ["10.0.0.2", 1500],
    ["10.0.0.3", 1500],
  ]);
  for (const id of ["c2", "c3", "local"]) hub.publish(Connection.fromPartial({ id }));
  const vxlan = (remoteAddress: string) =>
    ({ kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "10.0.0.1", remoteAddress }) as const;
  const noop = { kind: "noop", mechanism: "NOOP" } as const;
  const list = [
    { id: "c2", client: noop, endpoint: vxlan("10.0.0.2") },
    { id: "c3", client: vxlan("10.0.0.3"), endpoint: noop },
    { id: "local", client: noop, endpoint: noop },
  ] as unknown as CrossConnect[];
  const following = followPathMtus({
    dataPlane: { list: () => list, underlayMtuBytes: async () => 1500 },
    measure: async ({ destination }) => sizes.get(destination),
    hub,
    clock: manualClock(),
    intervalMs: 10_000,
    log: silentLog,
  });
  const asked = (): string[] =>
    [...hub.connections()].filter(({ state }) => state === State.REFRESH_REQUESTED).map(({ id }) => id);
  await following.measure();
  assert.deepEqual(asked(), []);
  sizes.set("10.0.0.2", undefined);
  sizes.set("10.0.0.3", 1400);
  await following.measure();
  assert.deepEqual(asked(), ["c3"]);
  assert.deepEqual([following.of("10.0.0.2"), following.of("10.0.0.3"), following.of("10.0.0.9")], [1500, 1400, undefined]);
  hub.publish(Connection.fromPartial({ id: "c3" }));
  list.splice(1, 1);
  await following.measure();
  assert.equal(following.of("10.0.0.3"), undefined, "paths without connections are forgotten");
  assert.deepEqual(asked(), []);
  following.stop();
});

test("row 1.24: a link that changes is measured at once: what was built for a larger one is refreshed, also where nobody answers echoes", async () => {
  const hub = createMonitorHub();
  const show = (MTU: number): void => hub.publish(Connection.fromPartial({ id: "c2", context: { MTU } }));
  const asked = (): boolean => hub.get("c2")?.state === State.REFRESH_REQUESTED;
  let linkMtuBytes = 1500;
  let answered: number | undefined = 1500;
  let measurements = 0;
  const port = { kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "10.0.0.1", remoteAddress: "10.0.0.2" };
  const list = [{ id: "c2", client: { kind: "noop", mechanism: "NOOP" }, endpoint: port }] as unknown as CrossConnect[];
  const following = followPathMtus({
    dataPlane: { list: () => list, underlayMtuBytes: async () => linkMtuBytes },
    measure: async () => {
      measurements += 1;
      return answered;
    },
    hub,
    clock: manualClock(),
    intervalMs: 2_000,
    log: silentLog,
  });
  show(1450);
  // before it was ever measured
  linkMtuBytes = answered = 1400;
  await following.linkChanged();
  assert.ok(asked(), "built for 1500");
  show(1350);
  await following.linkChanged();
  assert.equal(measurements, 1, "another link has changed");
  assert.ok(!asked());
  linkMtuBytes = 1300;
  answered = undefined;
  await following.linkChanged();
  assert.ok(asked());
  assert.equal(following.of("10.0.0.2"), 1300);
  show(1250);
  await following.measure();
  assert.ok(!asked());
  assert.equal(following.of("10.0.0.2"), 1300, "no answer says nothing new");
  following.stop();
  await following.measure();
  assert.equal(measurements, 3);
});
