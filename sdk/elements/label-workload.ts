/**
 * label-workload — adds where a connection comes from to its labels, unless they already say.
 * Source: NSM's clientinfo; labels nodeName, podName, clusterName from NODE_NAME, POD_NAME, CLUSTER_NAME.
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { Connection } from "../gen/connection.js";

/** Undefined or empty = nothing is added. */
export interface Whereabouts {
  readonly nodeName?: string | undefined;
  readonly podName?: string | undefined;
  readonly clusterName?: string | undefined;
}

export function labelWorkload(whereabouts: Whereabouts): Element<ConnectionApi> {
  const { nodeName, podName, clusterName } = whereabouts;
  const labels = Object.entries({ nodeName, podName, clusterName }).filter((pair): pair is [string, string] => Boolean(pair[1]));
  if (labels.length === 0) return { name: "label-workload", steps: {} };
  return {
    name: "label-workload",
    steps: {
      request(request, _context, rest) {
        const connection = request.connection ?? Connection.fromPartial({});
        const missing = labels.filter(([name]) => !Object.hasOwn(connection.labels, name));
        if (missing.length === 0) return rest.request(request);
        const all = { ...connection.labels, ...Object.fromEntries(missing) };
        return rest.request({ ...request, connection: { ...connection, labels: all } });
      },
    },
  };
}
