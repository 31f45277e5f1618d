import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MechanismType } from "../api.js";
import { Code, isStatusError } from "../status.js";
import { formatServiceUrl, parseAwarenessGroups, parseServiceUrl, parseServiceUrls, type ServiceUrl } from "./service-url.js";

test("row 1.27: labels arrive; a domain, an interface and a repeated label are understood as NSM does", () => {
  assert.deepEqual(parseServiceUrl("kernel://svc@my.domain/if0?a=b&c=d&c=e"), {
    mechanism: "KERNEL",
    networkService: "svc@my.domain",
    interfaceName: "if0",
    labels: { a: "b", c: "d,e" },
  });
});

const accepted: [string, Partial<ServiceUrl>][] = [
  ["kernel://svc", { networkService: "svc", interfaceName: "", labels: {} }],
  ["KERNEL://Svc.Name", { mechanism: MechanismType.KERNEL, networkService: "Svc.Name" }],
  ["memif://svc/", { mechanism: MechanismType.MEMIF, interfaceName: "" }],
  ["vfio://svc/x/y?sriovToken=worker.domain/100G", { interfaceName: "y", labels: { sriovToken: "worker.domain/100G" } }],
  ["kernel://svc:5000/a", { networkService: "svc", interfaceName: "a" }],
  ["kernel://svc?a", { labels: { a: "" } }],
  ["kernel://svc?a=b=c&&d=%2C+x", { labels: { a: "b=c", d: ", x" } }],
  ["kernel://svc/a-name-longer-than-the-kernel-takes", { interfaceName: "a-name-longer-than-the-kernel-takes" }],
  ["kernel://svc?app=firewall&mail=a@b.c", { networkService: "svc", labels: { app: "firewall", mail: "a@b.c" } }],
];
for (const [text, expected] of accepted) {
  test(`accepted: ${text}`, () => {
    const url = parseServiceUrl(text);
    assert.deepEqual({ ...url, ...expected }, url);
  });
}

test("a label called __proto__ or constructor is a label", () => {
  const { labels } = parseServiceUrl("kernel://svc?__proto__=a&constructor=b");
  assert.deepEqual(Object.entries(labels), [
    ["__proto__", "a"],
    ["constructor", "b"],
  ]);
});

const refused: { text: string; at: number; why: RegExp }[] = [
  { text: "", at: 1, why: /missing/ },
  { text: "svc", at: 4, why: /expected ":\/\/"/ },
  { text: "kernel:/svc", at: 9, why: /expected ":\/\/"/ },
  { text: "kernl://svc", at: 1, why: /no mechanism is called "kernl"; use one of kernel/ },
  { text: "kernel://", at: 10, why: /has no name/ },
  { text: "kernel:///nsm-1", at: 10, why: /has no name/ },
  { text: "kernel://@dom", at: 10, why: /has no name/ },
  { text: "kernel://svc@", at: 14, why: /domain has no name/ },
  { text: "kernel://s!c", at: 11, why: /named with letters/ },
  { text: "kernel://s c", at: 11, why: /named with letters/ },
  { text: "kernel://svc:port", at: 14, why: /port/ },
  { text: "kernel://svc/a b", at: 15, why: /white space/ },
  { text: "kernel://svc/..", at: 14, why: /\.\./ },
  { text: "kernel://svc/a%2Fb", at: 14, why: /interface/ },
  { text: "kernel://svc/if?=v", at: 17, why: /no key/ },
  { text: "kernel://svc/if?a=1;b=2", at: 20, why: /separated by "&"/ },
  { text: "kernel://svc/if?a=%zz", at: 19, why: /escape/ },
  { text: "kernel://svc/if?a=%ff", at: 19, why: /UTF-8/ },
  { text: "kernel://svc/if#x", at: 16, why: /fragment/ },
];
for (const { text, at, why } of refused) {
  test(`refused at character ${at}: ${text}`, () => {
    assert.throws(
      () => parseServiceUrl(text),
      (error) => {
        assert.ok(isStatusError(error));
        assert.equal(error.code, Code.INVALID_ARGUMENT);
        assert.match(error.details, why);
        const [head, shown, mark] = error.details.split("\n");
        assert.match(head ?? "", new RegExp(`character ${at}:`));
        assert.equal(shown, `  ${text}`);
        assert.equal(mark?.indexOf("^"), at + 1);
        return true;
      },
    );
  });
}

test("row 1.26: a list gives one entry per URL, and an error is placed in the whole list", () => {
  assert.deepEqual(parseServiceUrls(""), []);
  assert.deepEqual(
    parseServiceUrls("kernel://a/nsm-1, kernel://b/nsm-2").map(({ networkService, interfaceName }) => [
      networkService,
      interfaceName,
    ]),
    [
      ["a", "nsm-1"],
      ["b", "nsm-2"],
    ],
  );
  assert.throws(() => parseServiceUrls("kernel://a,kernl://b"), { details: /character 12:/ });
  assert.throws(() => parseServiceUrls("kernel://a,,kernel://b"), { details: /character 12: .*missing/ });
  assert.throws(() => parseServiceUrls("kernel://a,"), { details: /character 12: .*missing/ });
});

test("awareness groups", () => {
  const services = (text: string) => parseAwarenessGroups(text).map((group) => group.map((url) => url.networkService));
  assert.deepEqual(services("[kernel://a,kernel://b],[kernel://c]"), [["a", "b"], ["c"]]);
  assert.deepEqual(services(" "), []);
  for (const text of ["kernel://a", "[kernel://a", "[kernel://a][kernel://b]", "[]", "[kernel://a],"]) {
    assert.throws(() => parseAwarenessGroups(text), { code: Code.INVALID_ARGUMENT });
  }
});

test("a formatted URL parses to the same value", () => {
  const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/);
  fc.assert(
    fc.property(
      fc.record(
        {
          mechanism: fc.constantFrom(MechanismType.KERNEL, MechanismType.MEMIF, MechanismType.VFIO, MechanismType.NOOP),
          networkService: fc.oneof(
            name,
            fc.tuple(name, name).map(([service, domain]) => `${service}@${domain}`),
          ),
          interfaceName: fc.oneof(fc.constant(""), name),
          labels: fc
            .array(fc.tuple(fc.string({ unit: "grapheme", minLength: 1 }), fc.string({ unit: "grapheme" })))
            .map((entries) => Object.fromEntries(entries)),
        },
        { noNullPrototype: true },
      ),
      (url) => {
        assert.deepEqual(parseServiceUrl(formatServiceUrl(url)), url);
        assert.deepEqual(parseServiceUrls(`${formatServiceUrl(url)},${formatServiceUrl(url)}`), [url, url]);
      },
    ),
  );
});

test("any text is parsed or refused with INVALID_ARGUMENT", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string().map((tail) => `kernel://${tail}`),
    fc
      .array(
        fc.constantFrom("kernel", "://", "/", "@", "?", "&", "=", "%", "%2", "%20", ",", "#", ":", "a", "é", " ", "[", "]", "+"),
      )
      .map((parts) => parts.join("")),
  );
  const either = (parse: (text: string) => unknown) => (input: string) => {
    try {
      parse(input);
    } catch (error) {
      assert.ok(isStatusError(error) && error.code === Code.INVALID_ARGUMENT, String(error));
    }
  };
  for (const parse of [parseServiceUrl, parseServiceUrls, parseAwarenessGroups])
    fc.assert(fc.property(text, either(parse)), { numRuns: 2000 });
});
