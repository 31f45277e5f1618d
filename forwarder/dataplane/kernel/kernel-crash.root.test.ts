/**
 * A data plane that is killed at every step of its work (every third, unless WEFT_TEST_THOROUGH=1), and 500 random changes with
 * restarts and kills: afterwards the next one finds everything and leaves nothing behind.
 *
 * Run with CRASH_PLAN this file is the program that is killed: koffi's binding of send(2) kills it before the Nth call.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import type { CrossConnect } from "../dataplane.js";

interface CrashPlan {
  readonly stateDir: string;
  /** Which call of send(2) is the last, counted from the second step on; 0 = none. */
  readonly killAt: number;
  /** Undefined: remove. */
  readonly steps: readonly { readonly id: string; readonly crossConnect: CrossConnect | undefined }[];
}

const crashPlan = process.env["CRASH_PLAN"];
if (crashPlan === undefined) await defineTests();
else await runUntilKilled(JSON.parse(crashPlan) as CrashPlan);

async function runUntilKilled({ stateDir, killAt, steps }: CrashPlan): Promise<void> {
  const sends = countSends(killAt);
  const { createKernelDataPlane } = await import("./kernel.js");
  const { silentLog } = await import("../../../sdk/telemetry/log.js");
  const dataPlane = createKernelDataPlane({ stateDir, log: silentLog });
  await dataPlane.recover(0);
  const signal = new AbortController().signal;
  for (const [index, { id, crossConnect }] of steps.entries()) {
    if (index === steps.length - 1) sends.arm();
    if (crossConnect === undefined) await dataPlane.remove(id, signal);
    else await dataPlane.ensure({ ...crossConnect, record: new Uint8Array() }, signal);
  }
  await dataPlane.close();
}

/** Puts a counter into send(2), before the module that binds it is loaded. */
function countSends(killAt: number): { arm(): void } {
  let armed = false;
  let sent = 0;
  const load = koffi.load.bind(koffi);
  const count = (): void => {
    if (armed && ++sent === killAt) process.kill(process.pid, "SIGKILL");
  };
  koffi.load = (path) => {
    const library = load(path);
    const bind = library.func.bind(library) as (...definition: unknown[]) => ReturnType<typeof library.func>;
    const counting = (...definition: unknown[]): ReturnType<typeof library.func> => {
      const bound = bind(...definition);
      if (!String(definition[0]).includes(" send(")) return bound;
      const calling = (...args: unknown[]): unknown => {
        count();
        return bound(...args);
      };
      const starting = (...args: unknown[]): unknown => {
        count();
        return bound.async(...args);
      };
      return Object.assign(calling, { info: bound.info, async: starting });
    };
    return { func: counting } as typeof library;
  };
  return {
    arm() {
      armed = true;
    },
  };
}

async function defineTests(): Promise<void> {
  const world = await import("../compliance-world.js");
  const { createKernelDataPlane } = await import("./kernel.js");
  const { silentLog } = await import("../../../sdk/telemetry/log.js");
  const { withNetns } = await import("../../../sdk/linux/netns.js");
  const { crossConnect, inventory, namespace, noSignal, numbered, pings, stateFolder } = world;

  const policies = [{ from: "", protocol: 6, sourcePorts: undefined, destinationPorts: { first: 80, last: 80 }, routes: [] }];
  const withPolicies = (made: CrossConnect): CrossConnect => ({
    ...made,
    client: { ...made.client, policies } as CrossConnect["client"],
  });

  const scenarios: { name: string; last: (first: CrossConnect, pods: Pods) => CrossConnect | undefined; skipFirst?: true }[] = [
    { name: "making", last: (first) => first, skipFirst: true },
    {
      name: "changing in place",
      last: (first, pods) =>
        withPolicies({ ...first, ...numbered(pods.client, pods.endpoint, 4), generation: 2, mtuBytes: 1300 }),
    },
    {
      name: "renaming and another hardware address",
      last: (first) => ({
        ...first,
        generation: 2,
        client: { ...first.client, interfaceName: "other", macAddress: "02:00:00:00:00:77" } as CrossConnect["client"],
      }),
    },
    {
      name: "replacing the endpoint",
      last: (first, pods) => withPolicies({ ...first, ...numbered(pods.client, pods.third, 4), generation: 2 }),
    },
    {
      name: "replacing by a tunnel",
      last: (first) => ({
        ...first,
        generation: 2,
        endpoint: { kind: "vxlan", vni: 5, udpPort: 4799, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" },
      }),
    },
    { name: "removing", last: () => undefined },
  ];
  for (const scenario of scenarios) {
    test(`killed at any step of ${scenario.name}: recovered, and nothing is orphaned`, async (t) => {
      for (let killAt = 1; ; killAt += process.env["WEFT_TEST_THOROUGH"] === "1" ? 1 : 3) {
        if (await crashOnce(t, scenario, killAt)) break;
        assert.ok(killAt < 100, "it ends");
      }
    });
  }

  test("500 random changes, restarts and kills leave every namespace as it was", { timeout: 300_000 }, async (t) => {
    const seed = Number(process.env["WEFT_TEST_SEED"] ?? Date.now() % 1_000_000);
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = randomNumbers(seed);
    const [node, ...pods] = ["node", "c1", "c2", "c3", "e1", "e2"].map((hint) => namespace(t, hint));
    assert.ok(node);
    const all = [node, ...pods];
    const clean = all.map(inventory);
    const stateDir = stateFolder(t);
    const make = () => withNetns(node.netns, () => createKernelDataPlane({ stateDir, log: silentLog }));
    const model = new Map<string, CrossConnect>();
    let dataPlane = make();
    let generation = 1;
    const ask = (id: number): CrossConnect => {
      const [client, endpoint] = [pods[random(3)], pods[3 + random(2)]];
      assert.ok(client && endpoint);
      const ports = numbered(client, endpoint, 10 * id + random(3));
      const names = {
        client: { ...ports.client, interfaceName: `nsm-${id}` },
        endpoint: { ...ports.endpoint, interfaceName: `nse-${id}` },
      };
      const tunnel = {
        kind: "vxlan",
        vni: id + 1,
        udpPort: 4799,
        localAddress: "127.0.0.1",
        remoteAddress: `127.0.0.${2 + random(3)}`,
      } as const;
      const made = crossConnect(`c${id}`, random(4) === 0 ? { client: names.client, endpoint: tunnel } : names, {
        generation,
        mtuBytes: 1280 + random(200),
      });
      return random(3) === 0 ? withPolicies(made) : made;
    };
    try {
      for (let step = 0; step < 500; step++, generation++) {
        const id = random(6);
        const key = `c${id}`;
        const known = model.get(key);
        const wanted = random(5) < 3 ? (known !== undefined && random(3) === 0 ? { ...known, generation } : ask(id)) : undefined;
        if (step % 50 === 49) {
          // Killed in the middle: it is as before, as wanted, or gone; all others are untouched.
          await dataPlane.close();
          await runProgram({ stateDir, killAt: 1 + random(25), steps: [{ id: key, crossConnect: wanted }] }, node);
          dataPlane = make();
          const { adopted } = await dataPlane.recover(0);
          const found = adopted.find((each) => each.id === key);
          if (found === undefined) model.delete(key);
          else model.set(key, found);
        } else if (step % 50 === 24) {
          await dataPlane.close();
          dataPlane = make();
          await dataPlane.recover(0);
        } else if (wanted === undefined) {
          await dataPlane.remove(key, noSignal);
          model.delete(key);
        } else {
          await dataPlane.ensure(wanted, noSignal);
          model.set(key, wanted);
        }
        const ids = (each: Iterable<CrossConnect>): string[] => [...each].map((one) => one.id).sort();
        assert.deepEqual(ids(dataPlane.list()), ids(model.values()), `step ${step}`);
      }
      for (const each of model.values()) await dataPlane.ensure({ ...each, generation }, noSignal);
      for (const each of model.values()) {
        const { client, endpoint } = each;
        const from = pods.find(({ url }) => client.kind === "kernel" && url === client.netnsUrl);
        if (from !== undefined && endpoint.kind === "kernel")
          assert.ok(await pings(from, endpoint.addresses[0]?.replace(/\/.*/, "") ?? ""), each.id);
      }
      await Promise.all([...model.keys()].map((id) => dataPlane.remove(id, noSignal)));
      assert.deepEqual(all.map(inventory), clean);
    } finally {
      await dataPlane.close();
    }
  });

  /** Whether the work was done before the kill could strike. */
  async function crashOnce(t: TestContext, { last, skipFirst }: (typeof scenarios)[number], killAt: number): Promise<boolean> {
    const pods: Pods = {
      client: namespace(t, "client"),
      endpoint: namespace(t, "endpoint"),
      third: namespace(t, "third"),
      node: namespace(t, "node"),
    };
    const all = [pods.client, pods.endpoint, pods.third, pods.node];
    const clean = all.map(inventory);
    const stateDir = stateFolder(t);
    const first = withPolicies(crossConnect("c1", numbered(pods.client, pods.endpoint)));
    const steps = [...(skipFirst ? [] : [{ id: "c1", crossConnect: first }]), { id: "c1", crossConnect: last(first, pods) }];
    const killed = await runProgram({ stateDir, killAt, steps }, pods.node);
    const dataPlane = withNetns(pods.node.netns, () => createKernelDataPlane({ stateDir, log: silentLog }));
    try {
      const { adopted } = await dataPlane.recover(0);
      const kept = adopted[0];
      if (kept === undefined) {
        assert.ok(skipFirst || last(first, pods) === undefined || killed, "what was made is not lost");
        assert.deepEqual(all.map(inventory), clean, `after a kill at ${killAt}`);
      } else {
        const before = all.map(inventory);
        await dataPlane.ensure(kept, noSignal);
        assert.deepEqual(all.map(inventory), before, `nothing was left half made by a kill at ${killAt}`);
        if (kept.endpoint.kind === "kernel")
          assert.ok(await pings(pods.client, kept.endpoint.addresses[0]?.replace(/\/.*/, "") ?? ""));
        await dataPlane.remove("c1", noSignal);
        assert.deepEqual(all.map(inventory), clean, `after a kill at ${killAt} and removal`);
      }
      return !killed;
    } finally {
      await dataPlane.close();
      for (const pod of all) pod.end();
    }
  }
}

interface Pods {
  readonly client: import("../compliance-world.js").Namespace;
  readonly endpoint: import("../compliance-world.js").Namespace;
  readonly third: import("../compliance-world.js").Namespace;
  readonly node: import("../compliance-world.js").Namespace;
}

/** Runs this file as the program to be killed; whether it was. */
async function runProgram(plan: CrashPlan, node: Pods["node"]): Promise<boolean> {
  const { withNetns } = await import("../../../sdk/linux/netns.js");
  const env = { ...process.env, CRASH_PLAN: JSON.stringify(plan), NODE_TEST_CONTEXT: "" };
  const child = withNetns(node.netns, () =>
    spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url)], { env, stdio: ["ignore", "ignore", "pipe"] }),
  );
  let errors = "";
  child.stderr?.on("data", (chunk) => {
    errors += String(chunk);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.ok(code === 0 || signal === "SIGKILL", `the program ended with ${code ?? signal}: ${errors}`);
  return signal === "SIGKILL";
}

/** Whole numbers below the argument, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
