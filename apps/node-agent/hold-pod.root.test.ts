import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../sdk/gen/connection.js";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { parseServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { Code, statusError } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { holdPod } from "./hold-pod.js";
import { keyOfService, type PodWish } from "./wish.js";

function wishFor(...urls: string[]): PodWish {
  const services = new Map(urls.map((url) => [keyOfService(parseServiceUrl(url)), parseServiceUrl(url)]));
  return { uid: "u", name: "p", namespace: "n", mode: "node", services, problem: undefined };
}

/** A pod whose connections are recorded: what was opened, closed and left. */
function start(
  t: Parameters<typeof cleanUp>[0],
  wish: PodWish,
  refuse: (service: string) => Error | undefined = () => undefined,
) {
  const clean = cleanUp(t);
  const handle = temporaryNetns(clean, "hold-pod");
  const told: string[] = [];
  const held = holdPod({
    wish,
    finder: { find: () => ({ dev: handle.dev, ino: handle.ino }), processes: () => [] },
    async connect({ service, signal }) {
      const error = refuse(service.networkService);
      if (error !== undefined) throw error;
      const name = service.networkService;
      told.push(`open ${name}`);
      // as the SDK does: its signal closes what is there
      signal.addEventListener("abort", () => void told.push(`abort ${name}`));
      const end = (how: string) => async () => void told.push(`${how} ${name}`);
      const changes: AsyncIterable<never> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
      const connection = Connection.fromPartial({ network_service: name });
      return {
        id: name,
        interfaceName: "nsm-1",
        connection,
        context: ConnectionContext.fromPartial({}),
        changes,
        close: end("close"),
        leave: end("leave"),
      };
    },
    onChange: () => {},
    log: silentLog,
  });
  const connected = () =>
    held
      .report()
      .filter(({ state }) => state === "Connected")
      .map(({ service }) => service.networkService);
  return { held, told, connected };
}

test("an agent that stops leaves the connections to the next one, and closes none", async (t) => {
  const { held, told, connected } = start(t, wishFor("kernel://a/nsm-1", "kernel://b/nsm-2"));
  await until("both", () => connected().length === 2);
  await held.leave();
  assert.deepEqual(told, ["open a", "open b", "leave a", "leave b"]);
});

test("a pod that goes gives its connections back", async (t) => {
  const { held, told, connected } = start(t, wishFor("kernel://a/nsm-1"));
  await until("it", () => connected().length === 1);
  await held.close();
  assert.deepEqual(told, ["open a", "close a"]);
});

test("a changed wish closes what is not wanted any more, and keeps the rest; one that cannot be read takes nothing away", async (t) => {
  const { held, told, connected } = start(t, wishFor("kernel://a/nsm-1", "kernel://b/nsm-2"));
  await until("both", () => connected().length === 2);
  held.want({ ...wishFor(), problem: "character 7" });
  assert.equal(connected().length, 2);
  held.want(wishFor("kernel://b/nsm-2", "kernel://c/nsm-3"));
  await until("c", () => connected().includes("c"));
  assert.deepEqual(told.slice(2), ["close a", "open c"]);
  await held.close();
});

test("a service that is not there keeps no other waiting, and its report says what to do", async (t) => {
  const refuse = (name: string) => (name === "a" ? statusError(Code.NOT_FOUND, "no endpoint") : undefined);
  const { held, connected } = start(t, wishFor("kernel://a/nsm-1", "kernel://b/nsm-2"), refuse);
  await until("b", () => connected().includes("b"));
  const [a] = held.report();
  assert.equal(a?.state, "Failed");
  assert.match(a?.message ?? "", /no endpoint; start an endpoint of a/);
  await held.close();
});
