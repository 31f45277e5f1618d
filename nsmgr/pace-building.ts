/**
 * pace-building — bounds how many connections of this node are built at a time.
 * Does:   a first Request or a reselect of a local client waits while as many others are under way as finish soonest together; what
 *         heals goes before what is new, and new ones never take all places. So a node full of lost connections works them off one
 *         after another, instead of beginning all of them and letting each run into its deadline. Refreshes do not wait. Nor do
 *         requests that come from other nodes or functions: they have waited where they began, and two nodes that wait for each
 *         other's places would wait for ever
 *         One whose caller has waited so long that he would leave before it is built is not begun: its place goes to the next
 * Fails:  the caller's abort reason when it leaves while it waits; RESOURCE_EXHAUSTED when too little of its time is left
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { createGate, Urgency } from "../sdk/client/gate.js";
import { State } from "../sdk/gen/connection.js";
import { Code, statusError } from "../sdk/status.js";

export interface PaceOptions {
  /** Whether this connection exists here, by our own id. */
  readonly knows: (id: string) => boolean;
  readonly maxUnderWay?: number;
  readonly maxNew?: number;
  readonly nowMs?: () => number;
}

/**
 * Requests also wait for other nodes, so more than there are cores; not many more, because all that are under way finish late
 * together, and what is not finished when its caller leaves was built in vain. New ones that wait for a dead one leave room for
 * those that heal.
 */
const defaultMaxUnderWay = 24;
const defaultMaxNew = 12;
/** How much the last building says about the next one; none is taken to need longer than the most, in milliseconds. */
const weightOfLast = 0.2;
const mostMs = 2_000;
/** Position of this node manager in the path of a local client's request. */
const afterClient = 1;

interface Waiting {
  readonly deadlineMs: number | undefined;
  readonly waitingSinceMs: number;
}

export function paceBuilding({
  knows,
  maxUnderWay = defaultMaxUnderWay,
  maxNew = defaultMaxNew,
  nowMs = Date.now,
}: PaceOptions): Element<ConnectionApi> {
  const all = createGate(maxUnderWay);
  const newOnes = createGate(maxNew);
  let usualMs = 0;

  async function build<T>({ deadlineMs, waitingSinceMs }: Waiting, work: () => Promise<T>): Promise<T> {
    const begunMs = nowMs();
    const leftMs = (deadlineMs ?? Number.POSITIVE_INFINITY) - begunMs;
    if (leftMs < usualMs && begunMs - waitingSinceMs > leftMs) {
      const text = `this node builds ${maxUnderWay} connections at a time, and this one had to wait until too little of its time was left`;
      throw statusError(Code.RESOURCE_EXHAUSTED, `${text}; ask again`);
    }
    const answer = await work();
    usualMs = Math.min(mostMs, usualMs + weightOfLast * (nowMs() - begunMs - usualMs));
    return answer;
  }

  return {
    name: "pace-building",
    steps: {
      async request(request, { signal, deadlineMs }, rest) {
        const { connection } = request;
        if (connection?.path?.index !== afterClient) return rest.request(request);
        const isLost = connection.state === State.RESELECT_REQUESTED;
        if (!isLost && knows(connection.id)) return rest.request(request);
        const waiting = { deadlineMs, waitingSinceMs: nowMs() };
        const turn = () => build(waiting, () => rest.request(request));
        if (isLost) return all.run(Urgency.HEAL, signal, turn);
        return newOnes.run(Urgency.NEW, signal, () => all.run(Urgency.NEW, signal, turn));
      },
    },
  };
}
