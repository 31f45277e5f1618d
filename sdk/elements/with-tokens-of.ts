import type { Connection } from "../gen/connection.js";

/** The stored connection with the tokens that the caller has shown now: the next hop checks them again. */
export function withTokensOf(asked: Connection, stored: Connection): Connection {
  const path = stored.path;
  const shown = asked.path?.path_segments.slice(0, asked.path.index + 1) ?? [];
  if (path === undefined || shown.some(({ id }, i) => id !== path.path_segments[i]?.id)) return stored;
  const path_segments = path.path_segments.map((segment, i) => {
    const { token = segment.token, expires = segment.expires } = shown[i] ?? {};
    return { ...segment, token, expires };
  });
  return { ...stored, path: { ...path, path_segments } };
}
