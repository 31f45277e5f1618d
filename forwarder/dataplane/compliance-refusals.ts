/**
 * Compliance: what is refused, with which status, and that nothing changes then.
 */
import assert from "node:assert/strict";
import { Code } from "../../sdk/status.js";
import * as faults from "./compliance-faults.js";
import * as world from "./compliance-world.js";
import {
  connected,
  crossConnect,
  type Define,
  linkIn,
  namespace,
  noSignal,
  numbered,
  pings,
  type Start,
} from "./compliance-world.js";
import type { CrossConnect } from "./dataplane.js";

export function refusals(define: Define, start: Start): void {
  define("an interface name that somebody else has is refused, and theirs is not touched", async (t) => {
    const { client, endpoint, dataPlane } = await connected(t, start);
    const before = [world.inventory(client), world.inventory(endpoint)];
    const third = namespace(t, "third");
    await assert.rejects(dataPlane.ensure(crossConnect("c2", numbered(client, third, 2)), noSignal), {
      code: Code.ALREADY_EXISTS,
      details: /nsm-1.*choose another name/,
    });
    await assert.rejects(dataPlane.ensure(crossConnect("c3", numbered(third, endpoint, 2)), noSignal), {
      code: Code.ALREADY_EXISTS,
      details: /nse-1/,
    });
    assert.deepEqual([world.inventory(client), world.inventory(endpoint)], before);
    assert.deepEqual(
      world.inventory(third).filter((line) => line.startsWith("link")),
      ["link lo  65536 "],
    );
    assert.deepEqual(
      dataPlane.list().map(({ id }) => id),
      ["c1"],
    );
  });

  define("a failed change keeps what was there", async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    const third = namespace(t, "third");
    const before = [world.inventory(client), world.inventory(endpoint)];
    const same = (): void => assert.deepEqual([world.inventory(client), world.inventory(endpoint)], before);
    const unreachable = { ...made.client, routes: [{ prefix: "10.60.0.0/16", nextHop: "172.16.0.1" }] } as CrossConnect["client"];
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, client: unreachable, mtuBytes: 1300 }, noSignal), {
      code: Code.INVALID_ARGUMENT,
    });
    same();
    faults.foreignLink(third, "nse-1");
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, ...numbered(client, third, 2) }, noSignal), {
      code: Code.ALREADY_EXISTS,
    });
    same();
    const gone = { ...made.endpoint, netnsUrl: "file:///run/netns/wt-not-there" } as CrossConnect["endpoint"];
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2, endpoint: gone }, noSignal), { code: Code.NOT_FOUND });
    same();
    assert.ok(await pings(client, "172.16.0.0"));
    assert.equal(dataPlane.list()[0]?.generation, 1);
  });

  define("a namespace that vanishes is a status at ensure and no obstacle to removal", async (t) => {
    const { client, endpoint, dataPlane, made } = await connected(t, start);
    endpoint.end();
    await assert.rejects(dataPlane.ensure({ ...made, generation: 2 }, noSignal), {
      code: Code.NOT_FOUND,
      details: /is the pod gone/,
    });
    await dataPlane.remove("c1", noSignal);
    assert.equal(linkIn(client, "nsm-1"), undefined);
  });

  define("an aborted request is not begun", async (t) => {
    const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
    await assert.rejects(start(t).ensure(crossConnect("c1", numbered(client, endpoint)), AbortSignal.abort()), {
      name: "AbortError",
    });
    assert.equal(linkIn(client, "nsm-1"), undefined);
  });
}

const bad: readonly { why: string; change: (made: CrossConnect) => Partial<CrossConnect>; code: number; details: RegExp }[] = [
  {
    why: "a name over 15 bytes",
    change: client({ interfaceName: "sixteen-bytes-xx" }),
    code: Code.INVALID_ARGUMENT,
    details: /1…15 bytes, not 16/,
  },
  { why: "a name with a slash", change: client({ interfaceName: "a/b" }), code: Code.INVALID_ARGUMENT, details: /must not/ },
  {
    why: "a name that is a pattern",
    change: client({ interfaceName: "eth%d" }),
    code: Code.INVALID_ARGUMENT,
    details: /must not/,
  },
  {
    why: "no address",
    change: client({ addresses: ["172.16.0.300/32"] }),
    code: Code.INVALID_ARGUMENT,
    details: /is not an IP address/,
  },
  {
    why: "a multicast hardware address",
    change: client({ macAddress: "01:00:5e:00:00:01" }),
    code: Code.INVALID_ARGUMENT,
    details: /group address/,
  },
  {
    why: "a route between families",
    change: client({ routes: [{ prefix: "10.0.0.0/8", nextHop: "fd00::1" }] }),
    code: Code.INVALID_ARGUMENT,
    details: /one address family/,
  },
  {
    why: "a namespace that is none",
    change: client({ netnsUrl: "file:///etc/hostname" }),
    code: Code.INVALID_ARGUMENT,
    details: /not a network namespace/,
  },
  { why: "an absurd MTU", change: () => ({ mtuBytes: 20 }), code: Code.INVALID_ARGUMENT, details: /mtu 20/ },
  {
    why: "IPv6 below its least MTU",
    change: () => ({ mtuBytes: 1000 }),
    code: Code.INVALID_ARGUMENT,
    details: /IPv6 needs at least 1280/,
  },
  {
    why: "VXLAN for IP packets",
    change: () => ({
      payload: "IP",
      endpoint: { kind: "vxlan", vni: 1, udpPort: 4789, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" },
    }),
    code: Code.FAILED_PRECONDITION,
    details: /payload IP over VXLAN/,
  },
  {
    why: "an unbuilt port",
    change: () => ({ endpoint: { kind: "noop", mechanism: "MEMIF" } }),
    code: Code.FAILED_PRECONDITION,
    details: /unbuilt MEMIF/,
  },
  {
    why: "a VNI of 25 bits",
    change: () => ({
      endpoint: { kind: "vxlan", vni: 2 ** 24, udpPort: 4789, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" },
    }),
    code: Code.INVALID_ARGUMENT,
    details: /vni/,
  },
];

export function refusedValues(define: Define, start: Start): void {
  for (const { why, change, code, details } of bad) {
    define(`refused: ${why}`, async (t) => {
      const [one, two] = [namespace(t, "client"), namespace(t, "endpoint")];
      const dataPlane = start(t);
      const made = crossConnect("c1", numbered(one, two));
      await assert.rejects(dataPlane.ensure({ ...made, ...change(made) }, noSignal), { name: "StatusError", code, details });
      assert.equal(linkIn(one, "nsm-1"), undefined);
      assert.deepEqual(dataPlane.list(), []);
    });
  }
}

function client(change: object): (made: CrossConnect) => Partial<CrossConnect> {
  return (made) => ({ client: { ...made.client, ...change } as CrossConnect["client"] });
}
