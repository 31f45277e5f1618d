/**
 * Entries as `spec` of custom resources and back. The form is NSM's: Go's JSON of the messages, times as objects with
 * seconds and nanos, empty fields left out. What is read was perhaps written by hand, under a CRD without schema: every
 * type is checked, null means absent, and a problem names the field. Fields that nobody knows are passed over.
 */
import type { Destination, Match, NetworkService, NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import { timestampMs } from "../../../sdk/timestamp.js";

/** What is wrong with a spec; the text is for who wrote it. */
export interface SpecProblem extends Error {
  readonly name: "SpecProblem";
}

export function isSpecProblem(error: unknown): error is SpecProblem {
  return error instanceof Error && error.name === "SpecProblem";
}

type Json = Readonly<Record<string, unknown>>;
type Texts = Readonly<Record<string, string>>;

export function serviceSpec({ name, payload, matches, path_ids }: NetworkService): Json {
  return withoutEmpty({
    name,
    payload,
    matches: matches.map(({ source_selector, routes, fallthrough, metadata }) =>
      withoutEmpty({
        source_selector,
        routes: routes.map(({ destination_selector, weight }) => withoutEmpty({ destination_selector, weight })),
        fallthrough,
        metadata: metadata === undefined ? undefined : withoutEmpty({ labels: metadata.labels }),
      }),
    ),
    path_ids,
  });
}

export function endpointSpec(entry: NetworkServiceEndpoint): Json {
  const { expiration_time: expiry, initial_registration_time: initial } = entry;
  return withoutEmpty({
    name: entry.name,
    network_service_names: entry.network_service_names,
    network_service_labels: mapEach(entry.network_service_labels, ({ labels }) => withoutEmpty({ labels })),
    url: entry.url,
    expiration_time: expiry && withoutEmpty({ seconds: expiry.seconds, nanos: expiry.nanos }),
    initial_registration_time: initial && withoutEmpty({ seconds: initial.seconds, nanos: initial.nanos }),
    path_ids: entry.path_ids,
  });
}

/** @throws SpecProblem */
export function readService(spec: unknown, objectName: string): NetworkService {
  const from = objectAt(spec, "spec");
  return {
    name: textAt(from, "name", "spec") || objectName,
    payload: textAt(from, "payload", "spec"),
    matches: listAt(from, "matches", "spec", readMatch),
    path_ids: listAt(from, "path_ids", "spec", textOf),
  };
}

/** @throws SpecProblem */
export function readEndpoint(spec: unknown, objectName: string): NetworkServiceEndpoint {
  const from = objectAt(spec, "spec");
  const labels = objectAt(from["network_service_labels"], "spec.network_service_labels");
  return {
    name: textAt(from, "name", "spec") || objectName,
    network_service_names: listAt(from, "network_service_names", "spec", textOf),
    network_service_labels: mapEach(labels, (value, service) => {
      const at = `spec.network_service_labels[${JSON.stringify(service)}]`;
      return { labels: textsAt(objectAt(value, at), "labels", at) };
    }),
    url: textAt(from, "url", "spec"),
    expiration_time: timeAt(from, "expiration_time"),
    initial_registration_time: timeAt(from, "initial_registration_time"),
    path_ids: listAt(from, "path_ids", "spec", textOf),
  };
}

function readMatch(value: unknown, at: string): Match {
  const from = objectAt(value, at);
  const { fallthrough, metadata } = from;
  if (!isAbsent(fallthrough) && typeof fallthrough !== "boolean")
    throw problem(`${at}.fallthrough`, "true or false", fallthrough);
  return {
    source_selector: textsAt(from, "source_selector", at),
    routes: listAt(from, "routes", at, readRoute),
    fallthrough: fallthrough === true,
    metadata: isAbsent(metadata)
      ? undefined
      : { labels: textsAt(objectAt(metadata, `${at}.metadata`), "labels", `${at}.metadata`) },
  };
}

function readRoute(value: unknown, at: string): Destination {
  const from = objectAt(value, at);
  return {
    destination_selector: textsAt(from, "destination_selector", at),
    weight: numberAt(from, "weight", at, 0, 2 ** 32 - 1),
  };
}

/** The first and last second that a Timestamp may have (google/protobuf/timestamp.proto: years 1 to 9999). */
const minSeconds = -62_135_596_800;
const maxSeconds = 253_402_300_799;

function timeAt(from: Json, key: string): NetworkServiceEndpoint["expiration_time"] {
  const value = from[key];
  if (isAbsent(value)) return undefined;
  const at = `spec.${key}`;
  if (typeof value === "string") throw problem(at, 'an object {"seconds": …, "nanos": …}', value);
  const time = objectAt(value, at);
  const found = {
    seconds: numberAt(time, "seconds", at, minSeconds, maxSeconds),
    nanos: numberAt(time, "nanos", at, 0, 999_999_999),
  };
  if (!Number.isFinite(timestampMs(found))) throw problem(at, "a time", value);
  return found;
}

function objectAt(value: unknown, at: string): Json {
  if (isAbsent(value)) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw problem(at, "an object", value);
  return value as Json;
}

function textAt(from: Json, key: string, at: string): string {
  const value = Object.hasOwn(from, key) ? from[key] : undefined;
  return isAbsent(value) ? "" : textOf(value, `${at}.${key}`);
}

function textOf(value: unknown, at: string): string {
  if (typeof value !== "string") throw problem(at, "a text", value);
  return value;
}

function numberAt(from: Json, key: string, at: string, min: number, max: number): number {
  const value = Object.hasOwn(from, key) ? from[key] : undefined;
  if (isAbsent(value)) return 0;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw problem(`${at}.${key}`, `a whole number between ${min} and ${max}`, value);
  }
  return value;
}

function textsAt(from: Json, key: string, at: string): { [key: string]: string } {
  const own = objectAt(Object.hasOwn(from, key) ? from[key] : undefined, `${at}.${key}`);
  return mapEach(own, (value, name) => textOf(value, `${at}.${key}[${JSON.stringify(name)}]`));
}

function listAt<T>(from: Json, key: string, at: string, read: (item: unknown, at: string) => T): T[] {
  const value = Object.hasOwn(from, key) ? from[key] : undefined;
  if (isAbsent(value)) return [];
  if (!Array.isArray(value)) throw problem(`${at}.${key}`, "a list", value);
  return value.map((item, i) => read(item, `${at}.${key}[${i}]`));
}

/** fromEntries makes own properties of every name, "__proto__" too. */
function mapEach<V, W>(map: Readonly<Record<string, V>>, change: (value: V, key: string) => W): { [key: string]: W } {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, change(value, key)]));
}

function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

/** As Go's omitempty: no empty text, list or map, no zero, no false. */
function withoutEmpty(
  json: Readonly<Record<string, string | number | boolean | readonly unknown[] | Json | Texts | undefined>>,
): Json {
  const isEmpty = (value: unknown): boolean =>
    value === undefined ||
    value === "" ||
    value === 0 ||
    value === false ||
    (Array.isArray(value) && value.length === 0) ||
    (typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0);
  // an empty message in a field says that the field is there: times and metadata stay
  const kept = new Set(["metadata", "expiration_time", "initial_registration_time"]);
  return Object.fromEntries(
    Object.entries(json).filter(([key, value]) => !isEmpty(value) || (kept.has(key) && value !== undefined)),
  );
}

function problem(at: string, wanted: string, found: unknown): SpecProblem {
  const shown = JSON.stringify(found) ?? String(found);
  const text = `${at} must be ${wanted}, not ${shown.length > 80 ? `${shown.slice(0, 80)}…` : shown}`;
  return Object.assign(new Error(text), { name: "SpecProblem" as const });
}
