// In a file of its own: the one timer of silence.ts is made when the first connection of the process is.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { Code } from "../../status.js";
import { createHeaderDecoder, fieldOf } from "./header-decoder.js";
import type { ServedMethod } from "./server.js";
import { echo, frame, framed, open, run, serve, speak, until } from "./testing.js";

test("calls that are begun and never said to their end are given up; one that streams may take its time", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const many: ServedMethod = { input: "many", serve: (call) => call.header([]) };
  const port = await serve(t, { "/s/Echo": echo, "/s/Many": many });
  const innocent = await open(t, port);
  const socket = await speak(t, port);
  const told = statuses(socket);
  const half = framed(Buffer.from("half"), 0).subarray(0, 6);
  for (let call = 0; call < 500; call++) {
    const id = 2 * call + 1;
    socket.write(Buffer.concat([frame(1, 4, id, headersOf("/s/Echo")), frame(0, 0, id, half)]));
  }
  socket.write(frame(1, 4, 1001, headersOf("/s/Many")));
  await until(() => told.has(1001));
  t.mock.timers.tick(30_000);
  assert.equal((await run(innocent, "/s/Echo", Buffer.from("x"))).status.code, Code.OK);
  assert.deepEqual([...told], [[1001, undefined]]);
  t.mock.timers.tick(5_000);
  await until(() => told.size === 501);
  for (const [id, status] of told) assert.equal(status, id === 1001 ? undefined : String(Code.DEADLINE_EXCEEDED));
  assert.equal((await run(innocent, "/s/Echo", Buffer.from("x"))).status.code, Code.OK);
});

function headersOf(path: string): Buffer {
  const fields = [":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc", "te", "trailers"];
  const texts = fields.map((text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]));
  // each pair as a literal that goes into no table (RFC 7541 §6.2.2)
  return Buffer.concat(texts.flatMap((text, at) => (at % 2 === 0 ? [Buffer.from([0]), text] : [text])));
}

/** The last grpc-status that came on each stream; undefined = only headers came. */
function statuses(socket: Socket): ReadonlyMap<number, string | undefined> {
  const told = new Map<number, string | undefined>();
  const decoder = createHeaderDecoder();
  let rest = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      if (rest[3] === 1) told.set(rest.readUInt32BE(5), fieldOf(decoder.decode(rest, 9, end), "grpc-status"));
      rest = rest.subarray(end);
    }
  });
  return told;
}
