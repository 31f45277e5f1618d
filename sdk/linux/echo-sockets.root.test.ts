/** Echoes over sockets that stay open: answers find their echo, and nothing stays behind. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { until } from "../testing/until.js";
import { createEchoSockets } from "./echo-sockets.js";
import { icmpEcho } from "./icmp-echo.js";
import { addAddress, deleteAddress } from "./netlink/addresses.js";
import { parsePrefix } from "./netlink/ip-address.js";
import { createVeth, getLink, setLink } from "./netlink/links.js";
import { randomMac } from "./netlink/mac-address.js";
import { openNetlinkSocket } from "./netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "./netns.js";

for (const { family, source, destination, nobody } of [
  { family: "IPv4", source: "10.9.1.1", destination: "10.9.1.2", nobody: "10.9.1.3" },
  { family: "IPv6", source: "fd19::1", destination: "fd19::2", nobody: "fd19::3" },
]) {
  test(`row 7.7: ${family}: each answer is that of its own echo, strangers' answers are not, and closing leaves no descriptor`, async (t) => {
    const { netnsUrl } = pair(t);
    const before = readdirSync("/proc/self/fd").length;
    const sockets = createEchoSockets();
    const other = createEchoSockets();
    const answered: string[] = [];
    const place = { netnsUrl, source, destination, interfaceName: undefined };
    sockets.send({ ...place, destination: nobody }, () => answered.push("nobody"));
    sockets.send(place, () => answered.push("first"))();
    for (const name of ["second", "third"]) sockets.send(place, () => answered.push(name));
    other.send(place, () => answered.push("other"));
    assert.ok(await icmpEcho({ netnsUrl, source, destination, timeoutMs: 5_000, signal: new AbortController().signal }));
    await until("three answers", () => answered.length === 3);
    assert.deepEqual(answered.toSorted(), ["other", "second", "third"], "the first one was forgotten");
    sockets.close();
    other.close();
    assert.ok(readdirSync("/proc/self/fd").length <= before);
  });

  test(`${family}: an answer is read when it is asked for, and an address that goes away and comes back is used again`, async (t) => {
    const { netnsUrl, own } = pair(t);
    const sockets = createEchoSockets();
    t.after(() => sockets.close());
    const place = { netnsUrl, source, destination, interfaceName: "wt-echo" };
    const answers = async (): Promise<boolean> => {
      let answered = false;
      sockets.send(place, () => {
        answered = true;
      });
      const endMs = performance.now() + 100;
      while (performance.now() < endMs);
      sockets.read();
      return answered;
    };
    await until("the neighbour", answers);
    const address = parsePrefix(`${source}/${family === "IPv4" ? 24 : 64}`);
    const link = getLink(own, "wt-echo")?.index ?? 0;
    own.perform([deleteAddress(link, address)]);
    assert.equal(await answers(), false);
    own.perform([addAddress(link, address)]);
    await until("packets again", answers);
  });
}

test("row 11.3: within a node all answers are read in the turn in which the echoes were sent, and none wakes the loop", async (t) => {
  const { netnsUrl } = pair(t);
  const sockets = createEchoSockets();
  t.after(() => sockets.close());
  const places = [
    { netnsUrl, source: "10.9.1.1", destination: "10.9.1.2", interfaceName: undefined },
    { netnsUrl, source: "fd19::1", destination: "fd19::2", interfaceName: undefined },
  ];
  let answers = 0;
  const ask = (): void => {
    for (const place of places) sockets.send(place, () => (answers += 1));
  };
  // until both know each other's hardware address
  await until("first answers", () => {
    ask();
    return answers > 1;
  });
  let inTheTurn = 0;
  for (let round = 0; round < 100; round++) {
    answers = 0;
    ask();
    assert.equal(answers, 0, "not from within the call");
    await new Promise<void>((resolve) => process.nextTick(resolve));
    if (answers >= places.length) inTheTurn += 1;
    await until("the answers", () => answers >= places.length);
  }
  // a kernel that is busy hands packets over later
  assert.ok(inTheTurn > 0, `${inTheTurn} of 100`);
});

test("addresses and namespaces that are wrong are refused by status", () => {
  const sockets = createEchoSockets();
  const place = { netnsUrl: undefined, source: "", destination: "x", interfaceName: undefined };
  assert.throws(() => sockets.send(place, () => {}), { code: 3 });
  assert.throws(() => sockets.send({ ...place, destination: "10.9.0.1", netnsUrl: "wt-none" }, () => {}), { code: 5 });
  sockets.close();
});

function pair(t: TestContext) {
  const names = ["a", "b"].map((side) => `wt-echoes-${side}-${process.pid}`);
  t.after(() => names.forEach((name) => void deleteNamedNetns(name)));
  const handles = names.map((name) => {
    createNamedNetns(name);
    return openNetns(name);
  });
  const sockets = handles.map((handle) => openNetlinkSocket(handle));
  t.after(() => {
    for (const one of [...sockets, ...handles]) one.close();
  });
  const [a, b] = handles;
  const [own] = sockets;
  assert.ok(a && b && own);
  const end = (netns: typeof a) => ({ netns, name: "wt-echo", macAddress: randomMac(), mtuBytes: 1_500 });
  own.perform([createVeth(end(a), end(b))]);
  for (const [index, socket] of sockets.entries()) {
    const link = getLink(socket, "wt-echo")?.index ?? 0;
    const addresses = [`10.9.1.${index + 1}/24`, `fd19::${index + 1}/64`];
    socket.perform([...addresses.map((one) => addAddress(link, parsePrefix(one))), setLink(link, { up: true })]);
  }
  return { netnsUrl: `file:///run/netns/${names[0]}`, own };
}
