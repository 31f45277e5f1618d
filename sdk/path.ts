/**
 * The rules of `Connection.path`: one segment for each application on the way (pure).
 * Source of the rules: behaviour of NSM's update-path element.
 */
import type { Connection, Path, PathSegment } from "./gen/connection.js";
import { Code, statusError } from "./status.js";

/** More hops than any real chain; a longer path is a loop. */
export const maxPathSegments = 128;

/** Where a hop was entered, so that the answer can be given back in the caller's terms. */
export interface Hop {
  readonly connection: Connection;
  /** Index and id as the caller sent them. */
  readonly callerIndex: number;
  readonly callerId: string;
}

/**
 * Enters the application `name` into the path of a connection. The input is not changed.
 * @param newId  makes the id of a new segment (UUID v4 on the wire)
 * @throws INVALID_ARGUMENT when index, segments and id contradict each other
 */
export function enterHop(connection: Connection, name: string, newId: () => string): Hop {
  const segments = connection.path?.path_segments ?? [];
  if (segments.length === 0) {
    const id = connection.id || newId();
    const path: Path = { index: 0, path_segments: [segment(name, id)] };
    return { connection: { ...connection, id, path }, callerIndex: 0, callerId: id };
  }
  const index = connection.path?.index ?? 0;
  const current = segments[index];
  if (current === undefined) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `path index ${index} of connection ${connection.id} is beyond its ${segments.length} segments`,
    );
  }
  if (segments.length > maxPathSegments) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `path of connection ${connection.id} has ${segments.length} segments, more than ${maxPathSegments}: is there a loop?`,
    );
  }
  if (current.name === name) {
    return { connection: { ...connection, id: current.id }, callerIndex: index, callerId: current.id };
  }
  if (current.id !== connection.id) {
    throw statusError(Code.INVALID_ARGUMENT, `current path segment id ${current.id} is not connection id ${connection.id}`);
  }
  const next = segments[index + 1];
  const own = next === undefined || next.name !== name ? segment(name, newId()) : next;
  const path: Path = {
    ...connection.path,
    index: index + 1,
    path_segments: [...segments.slice(0, index + 1), own, ...segments.slice(index + 2)],
  };
  return { connection: { ...connection, id: own.id, path }, callerIndex: index, callerId: connection.id };
}

/** The answer in the terms of the caller: its index and its id; later segments stay, they show it the whole path. */
export function leaveHop(answer: Connection, hop: Hop): Connection {
  const path = answer.path ?? { index: 0, path_segments: [] };
  return { ...answer, id: hop.callerId, path: { ...path, index: hop.callerIndex } };
}

/** Cuts what follows the current segment: an application that calls nobody is the end of the path. */
export function trimPath(connection: Connection): Connection {
  const path = connection.path;
  if (path === undefined || path.path_segments.length <= path.index + 1) return connection;
  return { ...connection, path: { ...path, path_segments: path.path_segments.slice(0, path.index + 1) } };
}

export function currentSegment(connection: Connection): PathSegment | undefined {
  return connection.path?.path_segments[connection.path.index];
}

export function previousSegment(connection: Connection): PathSegment | undefined {
  const path = connection.path;
  return path === undefined || path.index === 0 ? undefined : path.path_segments[path.index - 1];
}

export function nextSegment(connection: Connection): PathSegment | undefined {
  return connection.path?.path_segments[connection.path.index + 1];
}

/** A copy whose current segment has been changed by `change`. */
export function withCurrentSegment(connection: Connection, change: (segment: PathSegment) => PathSegment): Connection {
  return withSegment(connection, connection.path?.index ?? 0, change);
}

/** A copy whose segment at `index` has been changed; the same object if there is none. */
export function withSegment(connection: Connection, index: number, change: (segment: PathSegment) => PathSegment): Connection {
  const path = connection.path;
  const old = path?.path_segments[index];
  if (path === undefined || old === undefined) return connection;
  const path_segments = path.path_segments.slice();
  path_segments[index] = change(old);
  return { ...connection, path: { ...path, path_segments } };
}

function segment(name: string, id: string): PathSegment {
  return { name, id, token: "", metrics: {} };
}
