import assert from "node:assert/strict";
import { test } from "node:test";
import { MechanismType } from "../sdk/api.js";
import { manualClock } from "../sdk/clock.js";
import { Connection, State } from "../sdk/gen/connection.js";
import { createMonitorHub } from "../sdk/monitor/hub.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { tunnelMtuBytes } from "./mtu.js";
import { type Followed, followPathMtus } from "./path-mtu.js";

test("row 1.24: a path that has changed refreshes its connections and no others; one that cannot be measured changes nothing", async () => {
  const hub = createMonitorHub();
  const sizes = new Map<string, number | undefined>([
    ["10.0.0.2", 1500],
    ["10.0.0.3", 1500],
  ]);
  for (const id of ["c2", "c3", "local"]) hub.publish(Connection.fromPartial({ id, context: { MTU: 1446 } }));
  const vxlan = (remoteAddress: string) =>
    ({ kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "10.0.0.1", remoteAddress }) as const;
  const noop = { kind: "noop", mechanism: MechanismType.NOOP } as const;
  const list: Followed[] = [
    { id: "c2", client: noop, endpoint: vxlan("10.0.0.2") },
    { id: "c3", client: vxlan("10.0.0.3"), endpoint: noop },
    { id: "local", client: noop, endpoint: noop },
  ];
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
  const of = (remote: string): number | undefined => following.of(remote)?.bytes;
  assert.deepEqual([of("10.0.0.2"), of("10.0.0.3"), of("10.0.0.9")], [1500, 1400, undefined]);
  hub.publish(Connection.fromPartial({ id: "c3", context: { MTU: 1346 } }));
  list.splice(1, 1);
  await following.measure();
  assert.equal(following.of("10.0.0.3"), undefined, "paths without connections are forgotten");
  assert.deepEqual(asked(), []);
  following.stop();
});

test("row 1.24: tunnels of two kinds go over one path: each has what its own kind leaves of it, and is left alone", async () => {
  const hub = createMonitorHub();
  const ends = { localAddress: "10.0.0.1", remoteAddress: "10.0.0.2" } as const;
  const keys = { privateKey: "", listenPort: 51_820, remotePort: 51_820, remotePublicKey: "", madeAtMs: 0 };
  const noop = { kind: "noop", mechanism: MechanismType.NOOP } as const;
  const [narrow, wide] = [MechanismType.WIREGUARD, MechanismType.VXLAN].map((type) => tunnelMtuBytes(type, 1500, "10.0.0.1"));
  assert.ok(narrow !== undefined && wide !== undefined && narrow < wide);
  hub.publish(Connection.fromPartial({ id: "wireguard", context: { MTU: narrow } }));
  hub.publish(Connection.fromPartial({ id: "vxlan", context: { MTU: wide } }));
  const following = followPathMtus({
    dataPlane: {
      list: () => [
        { id: "wireguard", client: noop, endpoint: { kind: "wireguard", ...ends, ...keys } },
        { id: "vxlan", client: noop, endpoint: { kind: "vxlan", vni: 1, udpPort: 4789, ...ends } },
      ],
      underlayMtuBytes: async () => 1500,
    },
    measure: async () => 1500,
    hub,
    clock: manualClock(),
    intervalMs: 10_000,
    log: silentLog,
  });
  await following.measure();
  await following.measure();
  const states = (): State[] => [...hub.connections()].map(({ state }) => state);
  assert.deepEqual(states(), [State.UP, State.UP]);
  hub.publish(Connection.fromPartial({ id: "wireguard", context: { MTU: wide } }));
  await following.measure();
  assert.deepEqual(states().toSorted(), [State.UP, State.REFRESH_REQUESTED].toSorted(), "its own kind leaves less");
  following.stop();
});

test("row 1.24: a link that changes is measured at once: what was built for a larger one is refreshed, also where nobody answers echoes", async () => {
  const hub = createMonitorHub();
  const show = (MTU: number): void => hub.publish(Connection.fromPartial({ id: "c2", context: { MTU } }));
  const asked = (): boolean => hub.get("c2")?.state === State.REFRESH_REQUESTED;
  let linkMtuBytes = 1500;
  let answered: number | undefined = 1500;
  let measurements = 0;
  const port = { kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "10.0.0.1", remoteAddress: "10.0.0.2" } as const;
  const list: readonly Followed[] = [{ id: "c2", client: { kind: "noop", mechanism: MechanismType.NOOP }, endpoint: port }];
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
  assert.deepEqual(following.of("10.0.0.2"), { bytes: 1300, linkBytes: 1300, seen: false });
  show(1250);
  await following.measure();
  assert.ok(!asked());
  assert.equal(following.of("10.0.0.2")?.bytes, 1300, "no answer says nothing new");
  following.stop();
  await following.measure();
  assert.equal(measurements, 3);
});

test("row 1.24: a path that grows is believed after three measurements, and after more of them once it has fallen back", async () => {
  const hub = createMonitorHub();
  const clock = manualClock();
  let passesBytes = 1400;
  const tunnel = { privateKey: "", listenPort: 51_820, remotePort: 51_820, remotePublicKey: "", madeAtMs: 0 };
  const port = { kind: "wireguard", localAddress: "10.0.0.1", remoteAddress: "10.0.0.2", ...tunnel } as const;
  const list: readonly Followed[] = [{ id: "c", client: { kind: "noop", mechanism: MechanismType.NOOP }, endpoint: port }];
  const following = followPathMtus({
    dataPlane: { list: () => list, underlayMtuBytes: async () => 1500 },
    measure: async () => passesBytes,
    hub,
    clock,
    intervalMs: 60_000,
    log: silentLog,
  });
  const show = (MTU: number): void => hub.publish(Connection.fromPartial({ id: "c", context: { MTU } }));
  const asked = (): boolean => hub.get("c")?.state === State.REFRESH_REQUESTED;
  /** How many measurements it takes until the connection is to be refreshed. */
  const measuredUntilAsked = async (most: number): Promise<number> => {
    for (let times = 1; times <= most; times++) {
      await following.measure();
      if (asked()) return times;
    }
    return 0;
  };
  // 1400 − 60, in whole blocks
  show(1328);
  await following.measure();
  assert.ok(!asked(), "has what passes");
  passesBytes = 1500;
  assert.equal(await measuredUntilAsked(9), 3);
  assert.deepEqual(following.of("10.0.0.2"), { bytes: 1500, linkBytes: 1500, seen: true });
  // its refresh may have passed the other end before that had measured: it is told again, and not for ever
  let again = 0;
  for (let times = 0; times < 9; times++) {
    show(1328);
    await following.measure();
    if (asked()) again++;
  }
  assert.equal(again, 3);
  for (const expected of [6, 12, 24]) {
    show(1440);
    passesBytes = 1400;
    assert.equal(await measuredUntilAsked(1), 1, "less is believed at once");
    show(1328);
    passesBytes = 1500;
    assert.equal(await measuredUntilAsked(expected + 9), expected);
  }
  clock.advance(3_600_000);
  show(1440);
  passesBytes = 1400;
  await following.measure();
  show(1328);
  passesBytes = 1460;
  await following.measure();
  passesBytes = 1500;
  assert.equal(await measuredUntilAsked(9), 2, "it has been calm for long");
  assert.equal(following.of("10.0.0.2")?.bytes, 1460, "the least of what was measured");
  passesBytes = 1400;
  await following.measure();
  passesBytes = 1500;
  await following.measure();
  // in between nobody has to call: the clock does, once a second instead of once a minute
  const before = following.of("10.0.0.2")?.bytes;
  for (let times = 0; times < 12; times++) {
    clock.advance(1_000);
    await following.linkChanged();
  }
  assert.deepEqual([before, following.of("10.0.0.2")?.bytes], [1400, 1500]);
  following.stop();
});
