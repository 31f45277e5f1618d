import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../status.js";
import { dialTarget, formatAddress, parseAddress } from "./address.js";

const accepted = [
  { url: "unix:///run/nsm.io.sock", text: "unix:///run/nsm.io.sock", target: "unix:/run/nsm.io.sock" },
  { url: "unix:/run/nsm.io.sock", text: "unix:///run/nsm.io.sock", target: "unix:/run/nsm.io.sock" },
  { url: "tcp://10.0.0.1:5001", text: "tcp://10.0.0.1:5001", target: "ipv4:10.0.0.1:5001" },
  { url: "tcp://[fd00::1]:5001", text: "tcp://[fd00::1]:5001", target: "ipv6:[fd00::1]:5001" },
  { url: "registry:5002", text: "tcp://registry:5002", target: "dns:registry:5002" },
  { url: ":5002", text: "tcp://:5002", target: "ipv4:127.0.0.1:5002" },
  { url: "tcp://:0", text: "tcp://:0", target: "ipv4:127.0.0.1:0" },
];
for (const { url, text, target } of accepted) {
  test(`${url} is read`, () => {
    const address = parseAddress(url);
    assert.equal(formatAddress(address), text);
    assert.equal(dialTarget(address), target);
  });
}

const refused = [
  { url: "", says: /host:port/ },
  { url: "unix://relative.sock", says: /absolute/ },
  { url: "unix:///a\0b", says: /zero byte/ },
  { url: `unix:///${"x".repeat(107)}`, says: /108 bytes, the kernel takes 107/ },
  { url: "http://a:1", says: /unknown scheme http/ },
  { url: "host", says: /host:port/ },
  { url: "host:70000", says: /above 65535/ },
  { url: "[::1:5001", says: /brackets/ },
  { url: "[nonsense]:5001", says: /no IPv6/ },
  { url: "a b:1", says: /host:port/ },
  { url: `tcp://${"x".repeat(5000)}:1`, says: /longer than/ },
];
for (const { url, says } of refused) {
  test(`${JSON.stringify(url.slice(0, 30))} is refused with a reason`, () => {
    assert.throws(
      () => parseAddress(url),
      (error) => isStatusError(error) && error.code === 3 && says.test(error.details),
    );
  });
}

test("any text is either read, and then stable, or refused with INVALID_ARGUMENT", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.webUrl(),
        fc.string().map((text) => `unix:///${text}`),
      ),
      (url) => {
        try {
          const text = formatAddress(parseAddress(url));
          assert.equal(formatAddress(parseAddress(text)), text);
        } catch (error) {
          assert.ok(isStatusError(error) && error.code === 3, String(error));
        }
      },
    ),
  );
});
