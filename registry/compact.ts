/**
 * A copy of an endpoint for long keeping: no empty containers, no spare room in lists, equal texts shared. An endpoint
 * decoded from the wire weighs about twice as much.
 */
import type { Timestamp } from "../sdk/gen/google/protobuf/timestamp.js";
import type { NetworkServiceLabels as Labels, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { createInterner } from "./intern.js";

type LabelsByService = { [service: string]: Labels };

const noNames: string[] = [];
const noLabels: LabelsByService = {};
const shared = createInterner(16_384);

/** @param like  what stood under the name before: equal parts are taken from it */
export function compactEndpoint(entry: NetworkServiceEndpoint, like: NetworkServiceEndpoint | undefined): NetworkServiceEndpoint {
  const first = entry.initial_registration_time;
  const likeFirst = like?.initial_registration_time;
  const compacted: NetworkServiceEndpoint = {
    name: like?.name ?? entry.name,
    network_service_names: compactNames(entry.network_service_names, like?.network_service_names),
    network_service_labels: compactLabels(entry.network_service_labels, like?.network_service_labels),
    url: like?.url === entry.url ? like.url : shared(entry.url),
    expiration_time: compactTime(entry.expiration_time),
    initial_registration_time: sameTime(first, likeFirst) ? likeFirst : compactTime(first),
    path_ids: compactNames(entry.path_ids, like?.path_ids),
  };
  // fields of a newer API pass through
  if (!isPlain(entry)) compacted._unknownFields = entry._unknownFields;
  return compacted;
}

/** Is `next` (compact, made like `previous`) a mere refresh: the same entry with another end of its lease? */
export function onlyLeaseDiffers(previous: NetworkServiceEndpoint, next: NetworkServiceEndpoint): boolean {
  return (
    next.name === previous.name &&
    next.network_service_names === previous.network_service_names &&
    next.network_service_labels === previous.network_service_labels &&
    next.url === previous.url &&
    next.initial_registration_time === previous.initial_registration_time &&
    next.path_ids === previous.path_ids &&
    previous.expiration_time !== undefined &&
    next.expiration_time !== undefined &&
    isPlain(previous) &&
    isPlain(next)
  );
}

function isPlain({ _unknownFields }: { _unknownFields?: object | undefined }): boolean {
  if (_unknownFields === undefined) return true;
  for (const _field in _unknownFields) return false;
  return true;
}

function compactNames(names: string[], like: string[] | undefined): string[] {
  if (names.length === 0) return noNames;
  if (like !== undefined && like.length === names.length && names.every((name, i) => name === like[i])) return like;
  // a list that has grown by push has room for seventeen
  return names.map(shared);
}

function compactTime(time: Timestamp | undefined): Timestamp | undefined {
  return time === undefined || !isPlain(time) ? time : { seconds: time.seconds, nanos: time.nanos };
}

function sameTime(a: Timestamp | undefined, b: Timestamp | undefined): boolean {
  return a !== undefined && b !== undefined && a.seconds === b.seconds && a.nanos === b.nanos && isPlain(a);
}

function compactLabels(all: LabelsByService, like: LabelsByService | undefined): LabelsByService {
  const services = Object.entries(all);
  if (services.length === 0) return noLabels;
  if (like !== undefined && sameLabels(services, like)) return like;
  const compacted: LabelsByService = {};
  for (const [service, value] of services) {
    if (!isPlain(value)) {
      compacted[service] = value;
      continue;
    }
    const labels: { [key: string]: string } = {};
    for (const [key, text] of Object.entries(value.labels)) labels[key] = shared(text);
    compacted[service] = { labels };
  }
  return compacted;
}

function sameLabels(services: readonly [string, Labels][], like: LabelsByService): boolean {
  return (
    services.length === Object.keys(like).length &&
    services.every(([service, value]) => {
      const other = Object.hasOwn(like, service) ? like[service] : undefined;
      return other !== undefined && isPlain(value) && isPlain(other) && sameTexts(value.labels, other.labels);
    })
  );
}

function sameTexts(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const entries = Object.entries(a);
  return entries.length === Object.keys(b).length && entries.every(([key, text]) => Object.hasOwn(b, key) && b[key] === text);
}
