import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../../sdk/testing/until.js";
import { openPlace, type Place } from "../cli/isolated.js";

test("rows 10.2, 10.3: counters of a connection rise with its traffic, scraped without a collector", {
  timeout: 110_000,
}, async (t) => {
  const place = await openPlace(t, { PROMETHEUS: "true" });
  for (const argv of [
    ["up", "--nodes", "1"],
    ["serve", "hello", "--node", "node-1", "-d"],
    ["connect", "hello", "-d"],
  ]) {
    const { code, err } = await place.weft(...argv);
    assert.equal(code, 0, err);
  }
  const before = await until("counters of the forwarder", () => carried(place), 30_000);
  // 200 datagrams of 1,000 bytes to a port where nobody listens: the wire carries them all the same
  const send = `const s=require("dgram").createSocket("udp4");let n=200;const next=()=>n--?s.send(Buffer.alloc(1000),9,"172.16.0.0",next):s.close();next()`;
  assert.equal((await place.weft("exec", "client", "--", process.execPath, "-e", send)).code, 0);
  await until("counters that have risen", async () => ((await carried(place)) ?? 0) - before >= 200_000, 30_000);
  const nsmgr = await scrape(place, 8082);
  assert.match(nsmgr, /weft_call_duration_seconds_count\{[^}]*method="request"[^}]*\} [1-9]/);
  assert.match(await scrape(place, 8081), /process_cpu_seconds_total/);
  assert.equal((await place.weft("down")).code, 0);
});

async function scrape(place: Place, port: number): Promise<string> {
  const script = `fetch("http://localhost:${port}/metrics").then(async (r) => console.log(await r.text()))`;
  return (await place.weft("exec", "node-1", "--", process.execPath, "-e", script)).out;
}

/** Bytes of the only connection in both directions, in the forwarder's own path segment; undefined before they are there. */
async function carried(place: Place): Promise<number | undefined> {
  const text = await scrape(place, 8081);
  const found = [...text.matchAll(/^weft_connection_metric\{[^}]*metric="server_[rt]x_bytes"[^}]*\} (\d+)$/gm)];
  return found.length < 2 ? undefined : found.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}
