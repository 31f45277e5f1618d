/** The stream of a watch: one JSON object a line (Kubernetes documentation, "Efficient detection of changes"). */
import { Code, statusError } from "../status.js";
import type { KubernetesObject } from "./resource.js";

export interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  /** With ERROR a meta/v1 Status. */
  readonly object: T;
}

/** etcd refuses requests above 1.5 MiB, so no object is larger; twice that for escapes. */
const maxLineBytes = 4 * 1024 * 1024;
const types = new Set(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

/** @throws UNAVAILABLE when a line is none of a watch: the connection is not to be trusted any further */
export async function* watchEvents<T extends KubernetesObject>(stream: AsyncIterable<Buffer>): AsyncGenerator<WatchEvent<T>> {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      waiting.push(chunk.subarray(from, end));
      from = end + 1;
      const line = (waiting.length === 1 ? waiting[0] : Buffer.concat(waiting))?.toString("utf8") ?? "";
      waiting = [];
      waitingBytes = 0;
      if (line.trim() !== "") yield parseEvent<T>(line);
    }
    if (from === chunk.length) continue;
    waiting.push(chunk.subarray(from));
    waitingBytes += chunk.length - from;
    if (waitingBytes > maxLineBytes) throw unreadable(`a line of more than ${maxLineBytes} bytes`);
  }
  // half a line at the end: the connection was cut, and the next watch brings that event again
}

function parseEvent<T extends KubernetesObject>(line: string): WatchEvent<T> {
  let event: Partial<WatchEvent<T>> | null;
  try {
    event = JSON.parse(line) as Partial<WatchEvent<T>> | null;
  } catch (error) {
    throw unreadable(line.slice(0, 80), error);
  }
  const { type, object } = event ?? {};
  if (type === undefined || !types.has(type) || typeof object !== "object" || object === null)
    throw unreadable(line.slice(0, 80));
  if (type !== "ERROR" && typeof object.metadata !== "object") throw unreadable(line.slice(0, 80));
  return { type, object };
}

function unreadable(what: string, cause?: unknown): Error {
  return statusError(Code.UNAVAILABLE, `a watch of the Kubernetes API brings what is no event: ${what}`, cause);
}
