/**
 * pace-building — bounds how many connections of this node are built at a time.
 * Does:   a first Request or a reselect of a local client waits while as many others are under way as finish soonest together; what
 *         heals goes before what is new, and new ones never take all places. So a node full of lost connections works them off one
 *         after another, instead of beginning all of them and letting each run into its deadline. Refreshes do not wait. Nor do
 *         requests that come from other nodes or functions: they have waited where they began, and two nodes that wait for each
 *         other's places would wait for ever
 * Fails:  the caller's abort reason when it leaves while it waits
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { createGate, Urgency } from "../sdk/client/gate.js";
import { State } from "../sdk/gen/connection.js";

export interface PaceOptions {
  /** Whether this connection exists here, by our own id. */
  readonly knows: (id: string) => boolean;
  readonly maxUnderWay?: number;
  readonly maxNew?: number;
}

/** Requests also wait for other nodes, so more than there are cores; new ones that wait for a dead one leave room for those that heal. */
const defaultMaxUnderWay = 32;
const defaultMaxNew = 16;
/** Position of this node manager in the path of a local client's request. */
const afterClient = 1;

export function paceBuilding({
  knows,
  maxUnderWay = defaultMaxUnderWay,
  maxNew = defaultMaxNew,
}: PaceOptions): Element<ConnectionApi> {
  const all = createGate(maxUnderWay);
  const newOnes = createGate(maxNew);
  return {
    name: "pace-building",
    steps: {
      async request(request, { signal }, rest) {
        const { connection } = request;
        if (connection?.path?.index !== afterClient) return rest.request(request);
        const build = () => rest.request(request);
        if (connection.state === State.RESELECT_REQUESTED) return all.run(Urgency.HEAL, signal, build);
        if (knows(connection.id)) return build();
        return newOnes.run(Urgency.NEW, signal, () => all.run(Urgency.NEW, signal, build));
      },
    },
  };
}
