import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../status.js";
import { badInterfaceCharacter, checkInterfaceName, fitInterfaceName, generateInterfaceName } from "./interface-name.js";

const validName = fc.stringMatching(/^[A-Za-z0-9._-]{1,60}$/).filter((name) => badInterfaceCharacter(name) < 0);

test("row 1.25: a name of up to 15 bytes is used as it is", () => {
  for (const name of ["nsm-1", "a", "fifteen-bytes-x", "eth0.100", "größe"]) assert.equal(fitInterfaceName(name), name);
});

test("row 1.25: a longer name is shortened the same way each time, into a valid name", () => {
  assert.equal(fitInterfaceName("a-name-of-sixteen"), fitInterfaceName("a-name-of-sixteen"));
  fc.assert(
    fc.property(validName, (name) => {
      const fitted = fitInterfaceName(name);
      checkInterfaceName(fitted);
      assert.equal(fitInterfaceName(fitted), fitted);
    }),
  );
  checkInterfaceName(fitInterfaceName("ü".repeat(20)));
});

test("row 1.25: 100,000 long names with one beginning give 100,000 short names", () => {
  const names = new Set<string>();
  for (let i = 0; i < 100_000; i++) names.add(fitInterfaceName(`network-interface-${i}`));
  assert.equal(names.size, 100_000);
});

test("row 1.25: a generated name has 15 bytes, begins with the service and depends on the connection", () => {
  assert.match(generateInterfaceName("icmp-responder", "id-1"), /^icmp-respo-[0-9A-Za-z]{4}$/);
  assert.match(generateInterfaceName("a@my.domain", "id-1"), /^a-[0-9A-Za-z]{13}$/);
  assert.match(generateInterfaceName("", "id-1"), /^nsm-[0-9A-Za-z]{11}$/);
  assert.equal(generateInterfaceName("svc", "id-1"), generateInterfaceName("svc", "id-1"));
  assert.notEqual(generateInterfaceName("svc", "id-1"), generateInterfaceName("svc", "id-2"));
  fc.assert(fc.property(fc.string(), fc.string(), (service, seed) => checkInterfaceName(generateInterfaceName(service, seed))));
});

for (const name of ["", ".", "..", "a b", "a/b", "a:b", "a\nb", "a\0b", "sixteen-bytes-xx", "%d", "a\u00a0b"]) {
  test(`refused: ${JSON.stringify(name)}`, () => {
    assert.throws(() => checkInterfaceName(name), { code: Code.INVALID_ARGUMENT, details: /interface name/ });
  });
}
