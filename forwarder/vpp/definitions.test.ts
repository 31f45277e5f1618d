import assert from "node:assert/strict";
import { test } from "node:test";
import { apiFolders, flatten, readApiFolders } from "./api-files.js";
import { compileMessage } from "./codec.js";
import { builtIn } from "./definitions.js";
import { findRealVpp } from "./testing/real-vpp.js";

const { program, skip } = findRealVpp(process.env);

test("every message that is built in can be written and read back", () => {
  for (const message of builtIn.messages.values()) {
    const codec = compileMessage(message, builtIn.types);
    const bytes = codec.encode(7, {});
    assert.equal(bytes.readUInt16BE(0), 7);
    assert.deepEqual(codec.encode(7, codec.decode(bytes)), bytes, message.name);
    if (bytes.length > 2) assert.throws(() => codec.decode(bytes.subarray(0, bytes.length - 1)), /ends after/, message.name);
  }
});

test("the layout is VPP's: big-endian, packed, strings padded or counted", () => {
  const of = (name: string) => {
    const message = [...builtIn.messages.values()].find((each) => each.name === name);
    assert.ok(message !== undefined);
    return compileMessage(message, builtIn.types);
  };
  const bytes = of("memif_socket_filename_add_del_v2").encode(0x1234, {
    client_index: 1,
    context: 2,
    is_add: true,
    socket_id: 0xffffffff,
    socket_filename: "@ab",
  });
  assert.equal(bytes.toString("hex"), "12340000000100000002" + "01" + "ffffffff" + "00000003" + "406162");
  const tag = of("sw_interface_tag_add_del").encode(1, { is_add: true, sw_if_index: 5, tag: "t" });
  assert.equal(tag.length, 2 + 8 + 1 + 4 + 64);
});

test("what is built in is what the running VPP's own files say, message by message", { skip }, () => {
  const own = readApiFolders(apiFolders(program));
  assert.ok(own !== undefined, "its .api.json files are found beside it");
  const flat = flatten(own);
  let compared = 0;
  for (const [key, message] of builtIn.messages) {
    const theirs = flat.messages.get(key);
    if (theirs === undefined) continue;
    assert.deepEqual(message.fields, theirs.fields, key);
    compared++;
  }
  assert.ok(compared > 80, `${compared} messages compared`);
  for (const [name, fields] of builtIn.types) assert.deepEqual(fields, flat.types.get(name), name);
});
