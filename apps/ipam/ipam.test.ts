import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Client, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import fc from "fast-check";
import { PrefixRequest, PrefixResponse, Type } from "../../sdk/gen/ipam.js";
import { parsePrefix, rangeOf } from "../../sdk/ip.js";
import { Code } from "../../sdk/status.js";
import { createLog } from "../../sdk/telemetry/log.js";
import { listen } from "../../sdk/transport/listen.js";
import { ipamService } from "../../sdk/transport/services.js";
import { lendPrefixes } from "./lend-prefixes.js";
import { createPrefixPool, type PrefixPool } from "./prefix-pool.js";

const pool = (prefix = "172.16.0.0/16", length = 24): PrefixPool => {
  const parsed = parsePrefix(prefix);
  assert.ok(parsed);
  return createPrefixPool(parsed, length);
};

const cases: { ask: string; excluded?: string[]; taken?: string[]; gets: string | undefined; why: string }[] = [
  { why: "nothing asked: the lowest", ask: "", gets: "172.16.0.0/24" },
  { why: "the next one", ask: "", taken: ["172.16.0.0/24"], gets: "172.16.1.0/24" },
  { why: "a free one is given as it is asked", ask: "172.16.99.0/24", gets: "172.16.99.0/24" },
  { why: "of any length, host bits kept", ask: "172.16.50.7/24", gets: "172.16.50.7/24" },
  { why: "a taken one: the lowest instead", ask: "172.16.0.0/24", taken: ["172.16.0.0/24"], gets: "172.16.1.0/24" },
  { why: "one outside the pool: the lowest instead", ask: "10.0.0.0/24", gets: "172.16.0.0/24" },
  { why: "no prefix at all: the lowest instead", ask: "nonsense", gets: "172.16.0.0/24" },
  { why: "excluded ones are passed over", ask: "", excluded: ["172.16.0.0/23", "fd00::/8"], gets: "172.16.2.0/24" },
  { why: "a part of a block closes the block", ask: "", excluded: ["172.16.0.128/32"], gets: "172.16.1.0/24" },
  { why: "all excluded: nothing", ask: "", excluded: ["0.0.0.0/0"], gets: undefined },
];
for (const { why, ask, excluded = [], taken = [], gets } of cases) {
  test(`prefix pool: ${why}`, () => {
    const lent = pool();
    for (const prefix of taken) assert.equal(lent.lend({}, prefix, []), prefix);
    assert.equal(lent.lend({}, ask, excluded), gets);
  });
}

test("prefix pool: only the holder gives back, and what is given back is lent again", () => {
  const lent = pool();
  const [a, b] = [{}, {}];
  assert.equal(lent.lend(a, "", []), "172.16.0.0/24");
  lent.takeBack(b, "172.16.0.0/24");
  assert.equal(lent.lend(b, "", []), "172.16.1.0/24");
  lent.takeAllBack(a);
  assert.equal(lent.lend(b, "", []), "172.16.0.0/24");
});

test("prefix pool: IPv6", () => {
  const lent = pool("2001:db8::/64", 112);
  assert.equal(lent.lend({}, "", []), "2001:db8::/112");
  assert.equal(lent.lend({}, "", []), "2001:db8::1:0/112");
});

test("prefix pool: no two loans overlap, whatever is asked and given back", () => {
  const step = fc.record({
    borrower: fc.nat(3),
    ask: fc.oneof(
      fc.constant(""),
      fc
        .record({ octet: fc.nat(15), length: fc.integer({ min: 20, max: 32 }) })
        .map(({ octet, length }) => `10.0.${octet}.0/${length}`),
    ),
    back: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lent = pool("10.0.0.0/20", 24);
      const borrowers = [{}, {}, {}, {}];
      let held: { borrower: object; text: string }[] = [];
      for (const { borrower: index, ask, back } of steps) {
        const borrower = borrowers[index] ?? {};
        if (back) {
          lent.takeAllBack(borrower);
          held = held.filter((loan) => loan.borrower !== borrower);
        } else {
          const text = lent.lend(borrower, ask, []);
          if (text !== undefined) held.push({ borrower, text });
        }
      }
      const ranges = held
        .map(({ text }) => rangeOf(parsePrefix(text) ?? assert.fail(text)))
        .sort((a, b) => (a.first < b.first ? -1 : 1));
      for (const [i, range] of ranges.entries()) assert.ok(i === 0 || range.first > (ranges[i - 1]?.last ?? 0n));
    }),
  );
});

for (const transport of ["unix", "tcp"] as const) {
  test(`IPAM over ${transport}: what a stream holds comes back when it ends`, async (t) => {
    const ask = await serve(t, transport);
    const first = ask();
    assert.equal((await first.allocate("")).prefix, "172.16.0.0/24");
    const second = ask();
    assert.deepEqual(
      await second.allocate("", ["10.0.0.0/8"]),
      PrefixResponse.fromPartial({ prefix: "172.16.1.0/24", exclude_prefixes: ["10.0.0.0/8"] }),
    );
    first.stream.cancel();
    // the server learns of the end in its own time: the lowest is free again at some point
    const deadlineMs = Date.now() + 10_000;
    for (;;) {
      const third = ask();
      const { prefix } = await third.allocate("172.16.0.0/24");
      third.stream.cancel();
      if (prefix === "172.16.0.0/24") break;
      assert.ok(Date.now() < deadlineMs, "the prefix of an ended stream stays lent");
    }
    second.remove("172.16.1.0/24");
    assert.equal((await second.allocate("172.16.1.0/24")).prefix, "172.16.1.0/24");
    second.stream.cancel();
  });
}

test("IPAM: a request without a type ends the stream with INVALID_ARGUMENT, and the others live on", async (t) => {
  const ask = await serve(t, "unix");
  const good = ask();
  await good.allocate("");
  const bad = ask();
  const ended = new Promise<number>((resolve) =>
    bad.stream.on("error", (error: Error & { code: number }) => resolve(error.code)),
  );
  bad.stream.write(PrefixRequest.fromPartial({ type: Type.UNDEFINED }));
  assert.equal(await ended, Code.INVALID_ARGUMENT);
  assert.equal((await good.allocate("")).prefix, "172.16.1.0/24");
  good.stream.cancel();
});

async function serve(t: TestContext, transport: "unix" | "tcp") {
  const folder = mkdtempSync(join(tmpdir(), "wt-ipam-"));
  const stop = new AbortController();
  const url = transport === "unix" ? `unix://${folder}/ipam.sock` : "tcp://127.0.0.1:0";
  const log = createLog({ name: "ipam", level: "error" });
  const listener = await listen({ urls: [url], services: [ipamService(lendPrefixes(pool(), []))], log, signal: stop.signal });
  const [bound = ""] = listener.urls;
  const client = new Client(
    transport === "unix" ? `unix:${folder}/ipam.sock` : bound.slice("tcp://".length),
    credentials.createInsecure(),
  );
  t.after(async () => {
    client.close();
    await listener.drain(1000);
    stop.abort();
    rmSync(folder, { recursive: true, force: true });
  });
  return () => {
    const stream: ClientDuplexStream<PrefixRequest, PrefixResponse> = client.makeBidiStreamRequest(
      "/ipam.IPAM/ManagePrefixes",
      (message: PrefixRequest) => Buffer.from(PrefixRequest.encode(message).finish()),
      (bytes: Buffer) => PrefixResponse.decode(bytes),
    );
    stream.on("error", () => {});
    return {
      stream,
      remove: (prefix: string) => stream.write(PrefixRequest.fromPartial({ type: Type.DELETE, prefix })),
      allocate(prefix: string, exclude_prefixes: string[] = []) {
        const answer = new Promise<PrefixResponse>((resolve, reject) => {
          stream.once("data", resolve);
          stream.once("error", reject);
        });
        stream.write(PrefixRequest.fromPartial({ type: Type.ALLOCATE, prefix, exclude_prefixes }));
        return answer;
      },
    };
  };
}
