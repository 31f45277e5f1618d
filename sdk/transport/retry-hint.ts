/** When who refused a call wants to be asked again: gRPC's pushback (grpc/proposal A6), a trailer with milliseconds. */
import type { StatusError } from "../status.js";
import { type Fields, fieldOf } from "./h2/header-decoder.js";

const header = "grpc-retry-pushback-ms";
/** A longer one is a mistake, or of somebody who wants us away. */
const longestMs = 60_000;

/** The same status with a hint, which goes with it to the caller and on to the caller's caller. */
export function hinted(status: StatusError, afterMs: number): StatusError {
  const fields: Fields = [header, String(afterMs)];
  return Object.assign(status, { fields });
}

/** Takes the hint from the trailers of an answer, if there is one. */
export function hintedBy(status: StatusError, trailers: Fields): StatusError {
  const afterMs = parse(fieldOf(trailers, header));
  return afterMs === undefined ? status : hinted(status, afterMs);
}

/** Milliseconds from the answer on; undefined = it did not say. */
export function retryAfterMs(error: unknown): number | undefined {
  const { fields } = error as { readonly fields?: Fields };
  return fields === undefined ? undefined : parse(fieldOf(fields, header));
}

function parse(text: string | undefined): number | undefined {
  return text === undefined || !/^\d{1,9}$/.test(text) ? undefined : Math.min(Number(text), longestMs);
}
