/** Which connections a monitor wants to hear of (pure). Source: NSM monitor selectors, protocol behaviour §7. */
import type { Connection, MonitorScopeSelector, PathSegment } from "../gen/connection.js";

/**
 * Services named: the connection's must be among them. Segments given: they must match a contiguous run anywhere in the
 * connection's path, each by its non-empty name, id and token. An empty selector selects everything.
 */
export function selects(selector: MonitorScopeSelector, connection: Connection): boolean {
  const { network_services, path_segments: wanted } = selector;
  if (network_services.length > 0 && !network_services.includes(connection.network_service)) return false;
  if (wanted.length === 0) return true;
  const segments = connection.path?.path_segments ?? [];
  for (let start = 0; start + wanted.length <= segments.length; start++) {
    if (wanted.every((segment, i) => matches(segment, segments[start + i]))) return true;
  }
  return false;
}

function matches(wanted: PathSegment, segment: PathSegment | undefined): boolean {
  return (
    segment !== undefined &&
    (wanted.name === "" || wanted.name === segment.name) &&
    (wanted.id === "" || wanted.id === segment.id) &&
    (wanted.token === "" || wanted.token === segment.token)
  );
}
