import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { forwarderLabelsFor, matchesEndpoint, matchesService, satisfies, selectCandidates } from "./match.js";

const endpoint = (partial: Parameters<typeof NetworkServiceEndpoint.fromPartial>[0]) =>
  NetworkServiceEndpoint.fromPartial(partial);
const service = (partial: Parameters<typeof NetworkService.fromPartial>[0]) => NetworkService.fromPartial(partial);
const named = (name: string, labels: Record<string, string>) =>
  endpoint({ name, network_service_names: ["s"], network_service_labels: { s: { labels } } });

const entry = endpoint({
  name: "nse-1",
  network_service_names: ["a", "b"],
  network_service_labels: { a: { labels: { app: "fw", tier: "1" } }, b: { labels: {} } },
  url: "tcp://10.0.0.1:5001",
  expiration_time: { seconds: 100, nanos: 5 },
  path_ids: ["x"],
});
const endpointQueries: [why: string, query: Parameters<typeof NetworkServiceEndpoint.fromPartial>[0], expected: boolean][] = [
  ["empty means any", {}, true],
  ["equal name", { name: "nse-1" }, true],
  ["part of the name", { name: "nse" }, false],
  ["equal url", { url: "tcp://10.0.0.1:5001" }, true],
  ["part of the url", { url: "10.0.0.1" }, true],
  ["another url", { url: "tcp://10.0.0.12:5001" }, false],
  ["same second", { expiration_time: { seconds: 100, nanos: 0 } }, true],
  ["another second", { expiration_time: { seconds: 101, nanos: 5 } }, false],
  ["one of its services", { network_service_names: ["b"] }, true],
  ["all of its services", { network_service_names: ["b", "a"] }, true],
  ["a service it has not", { network_service_names: ["a", "c"] }, false],
  ["some of its labels", { network_service_labels: { a: { labels: { app: "fw" } } } }, true],
  ["no labels of a service it has", { network_service_labels: { b: { labels: {} } } }, true],
  ["labels of a service it has not", { network_service_labels: { c: { labels: {} } } }, false],
  ["another value of a label", { network_service_labels: { a: { labels: { app: "x" } } } }, false],
  ["a label it has not", { network_service_labels: { a: { labels: { zone: "" } } } }, false],
  ["a service called like a property of objects", { network_service_labels: { constructor: { labels: {} } } }, false],
  ["path ids are ignored", { path_ids: ["y"] }, true],
  ["the first registration is ignored", { initial_registration_time: { seconds: 1, nanos: 0 } }, true],
];
for (const [why, query, expected] of endpointQueries) {
  test(`row 3.1: endpoint query, ${why}`, () => {
    assert.equal(matchesEndpoint(endpoint(query), entry), expected);
  });
}

test("row 3.1: service query by name, payload and matches", () => {
  const matches = [{ source_selector: { a: "1", b: "2" }, routes: [{ destination_selector: { c: "3" } }] }];
  const stored = service({ name: "s", payload: "IP", matches });
  assert.ok(matchesService(service({}), stored));
  assert.ok(matchesService(service({ name: "s", payload: "IP" }), stored));
  assert.ok(!matchesService(service({ name: "S" }), stored));
  assert.ok(!matchesService(service({ payload: "ETHERNET" }), stored));
  const reordered = [{ source_selector: { b: "2", a: "1" }, routes: [{ destination_selector: { c: "3" } }] }];
  assert.ok(matchesService(service({ matches: reordered }), stored));
  assert.ok(!matchesService(service({ matches: [{ ...matches[0], fallthrough: true }] }), stored));
  assert.ok(!matchesService(service({ matches: [{ ...matches[0], metadata: { labels: {} } }] }), stored));
});

test("a selector holds literally or by template; an absent label counts as empty", () => {
  assert.ok(satisfies({}, {}, {}));
  assert.ok(satisfies({ node: "n1" }, { node: "{{.nodeName}}" }, { nodeName: "n1" }));
  assert.ok(satisfies({ node: "{{.nodeName}}" }, { node: "{{.nodeName}}" }, { nodeName: "n1" }));
  assert.ok(!satisfies({ node: "n2" }, { node: "{{.nodeName}}" }, { nodeName: "n1" }));
  assert.ok(satisfies({ node: "<no value>" }, { node: "{{.nodeName}}" }, {}));
  assert.ok(satisfies({ other: "x" }, { node: "" }, {}));
  assert.ok(!satisfies({}, { node: "" }, {}), "fewer labels than the selector has");
  assert.ok(!satisfies({ a: "1" }, { constructor: "x" }, {}));
});

const fw = named("fw", { app: "firewall" });
const fw2 = named("fw2", { app: "firewall", node: "n1" });
const gw = named("gw", { app: "gateway", node: "n2" });
const all = [fw, fw2, gw];
const to = (destination_selector: Record<string, string>) => ({ destination_selector });
const selections: [
  why: string,
  matches: NonNullable<Parameters<typeof NetworkService.fromPartial>[0]["matches"]>,
  labels: Record<string, string>,
  expected: string[],
][] = [
  ["no matches: all", [], {}, ["fw", "fw2", "gw"]],
  ["an empty source selector always applies", [{ routes: [to({ app: "gateway" })] }], {}, ["gw"]],
  [
    "the first match whose source applies decides",
    [{ source_selector: { app: "firewall" }, routes: [to({ app: "gateway" })] }, { routes: [to({ app: "firewall" })] }],
    { app: "firewall" },
    ["gw"],
  ],
  [
    "a later match when the first does not apply",
    [{ source_selector: { app: "x" } }, { routes: [to({ app: "gateway" })] }],
    {},
    ["gw"],
  ],
  ["nothing applies: none", [{ source_selector: { app: "x" }, routes: [to({})] }], {}, []],
  ["no candidate and no fallthrough: none", [{ routes: [to({ app: "x" })] }, { routes: [to({})] }], {}, []],
  [
    "no candidate and fallthrough: the next",
    [{ routes: [to({ app: "x" })], fallthrough: true }, { routes: [to({ app: "gateway" })] }],
    {},
    ["gw"],
  ],
  [
    "a candidate makes fallthrough moot",
    [{ routes: [to({ app: "gateway" })], fallthrough: true }, { routes: [to({})] }],
    {},
    ["gw"],
  ],
  ["all fall through: none", [{ routes: [to({ app: "x" })], fallthrough: true }], {}, []],
  ["no routes, no metadata: none", [{}], {}, []],
  ["no routes but metadata: all", [{ metadata: { labels: {} } }], {}, ["fw", "fw2", "gw"]],
  ["metadata with routes that fit nothing: none", [{ metadata: { labels: {} }, routes: [to({ app: "x" })] }], {}, []],
  [
    "two routes: in route order, one endpoint may come twice",
    [{ routes: [to({ node: "n1" }), to({ app: "firewall" })] }],
    {},
    ["fw2", "fw", "fw2"],
  ],
  ["a template", [{ routes: [to({ node: "{{.nodeName}}" })] }], { nodeName: "n2" }, ["gw"]],
];
for (const [why, matches, labels, expected] of selections) {
  test(`rows 2.1, 2.2: candidates, ${why}`, () => {
    const found = selectCandidates(service({ name: "s", matches }), all, labels);
    assert.deepEqual(
      found.map(({ name }) => name),
      expected,
    );
  });
}

test("row 2.1: labels under another service do not count", () => {
  const other = endpoint({ name: "o", network_service_labels: { other: { labels: { app: "gateway" } } } });
  const asked = service({ name: "s", matches: [{ routes: [to({ app: "gateway" })] }] });
  assert.deepEqual(selectCandidates(asked, [other], {}), []);
});

test("candidates are explained: who was refused and who chosen, by which match", () => {
  const told: string[] = [];
  selectCandidates(service({ name: "s", matches: [{ routes: [to({ app: "gateway" })] }] }), [fw, gw], {}, (...line) =>
    told.push(line.join(" ")),
  );
  assert.deepEqual(told, [
    "fw REFUSED match 1 of service s: its labels satisfy none of the 1 routes",
    "gw CHOSEN match 1 of service s",
  ]);
});

test("row 2.5: labels a forwarder must have", () => {
  assert.deepEqual(forwarderLabelsFor(service({}), {}), [{}]);
  assert.deepEqual(forwarderLabelsFor(service({ matches: [{}] }), {}), [{ p2p: "true" }]);
  assert.deepEqual(forwarderLabelsFor(service({ matches: [{ metadata: { labels: { sriov: "1" } } }] }), {}), [{ sriov: "1" }]);
  assert.deepEqual(forwarderLabelsFor(service({ matches: [{ source_selector: { a: "1" } }] }), {}), []);
  const steps = [{ metadata: { labels: { x: "1" } }, fallthrough: true }, {}, { metadata: { labels: { y: "1" } } }];
  assert.deepEqual(forwarderLabelsFor(service({ matches: steps }), {}), [{ x: "1" }, { p2p: "true" }]);
});

test("row 2.5: the request's own label names the forwarder where the service's metadata has a template", () => {
  const byLabel = service({ matches: [{ metadata: { labels: { plane: "{{.plane}}" } }, fallthrough: true }, {}] });
  assert.deepEqual(forwarderLabelsFor(byLabel, { plane: "fast" }), [{ plane: "fast" }, { p2p: "true" }]);
  const [absent] = forwarderLabelsFor(byLabel, {});
  assert.notEqual(absent?.["plane"], "");
});

test("a query made of parts of an entry finds it; candidates are a selection of what was given", () => {
  const labels = fc.dictionary(fc.string(), fc.string(), { maxKeys: 4 });
  const anyEndpoint = fc
    .record({
      name: fc.string(),
      url: fc.string(),
      network_service_names: fc.array(fc.string(), { maxLength: 4 }),
      network_service_labels: fc.dictionary(
        fc.string(),
        labels.map((map) => ({ labels: map })),
        { maxKeys: 3 },
      ),
    })
    .map(endpoint);
  fc.assert(
    fc.property(anyEndpoint, fc.nat(), fc.nat(), (found, from, length) => {
      const names = found.network_service_names.slice(from % 5, (from % 5) + (length % 5));
      const url = found.url.slice(from % 9, (from % 9) + (length % 9));
      assert.ok(matchesEndpoint({ ...found, url, network_service_names: names, path_ids: [] }, found));
    }),
  );
  const anyMatch = fc.record({
    source_selector: labels,
    routes: fc.array(labels.map(to), { maxLength: 3 }),
    fallthrough: fc.boolean(),
    metadata: fc.option(
      labels.map((map) => ({ labels: map })),
      { nil: undefined },
    ),
  });
  fc.assert(
    fc.property(fc.array(anyMatch, { maxLength: 4 }), fc.array(anyEndpoint, { maxLength: 4 }), labels, (matches, given, mine) => {
      const found = selectCandidates(service({ name: "s", matches }), given, mine);
      assert.ok(found.every((one) => given.includes(one)));
      if (matches.length === 0) assert.deepEqual(found, given);
    }),
  );
});
