/**
 * cross-connect — agrees with both sides on how they are reached, and joins them in the data plane.
 * Needs:  context.nextHop (from `find-endpoint`), context.undoOnFailure (from `undo`)
 * Does:   completes the mechanism of the side that asks; proposes others to the next hop; lowers the MTU to what fits;
 *         builds what the answer says. A refresh changes only what differs. A VNI that is taken in this node's
 *         namespace is given back, and the next hop is asked anew
 * Fails:  INVALID_ARGUMENT the caller's mechanism is malformed; FAILED_PRECONDITION it cannot be done here (payload IP
 *         between nodes, ports or address families that do not fit, an answer that makes no sense); else as the data
 *         plane says: ALREADY_EXISTS, NOT_FOUND, …
 */
import { type ConnectionApi, MechanismType } from "../sdk/api.js";
import type { CallContext, Detachable, Element, Rest } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { Journal } from "../sdk/elements/explain.js";
import type { HasNextHop, NextHop } from "../sdk/elements/forward.js";
import { withinTime } from "../sdk/elements/time-limit.js";
import type { HasUndo } from "../sdk/elements/undo.js";
import type { Connection, Mechanism } from "../sdk/gen/connection.js";
import { withParameters } from "../sdk/mechanisms/parameters.js";
import { defaultVxlanPort, parseVxlan, vxlanParameter } from "../sdk/mechanisms/vxlan.js";
import { previousSegment } from "../sdk/path.js";
import { Code, statusError, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs } from "../sdk/timestamp.js";
import { type Accepted, acceptMechanism, offeredKinds, payloadOf, type TellMechanism } from "./choose-mechanism.js";
import { agreedMtuBytes, onwardMtuBytes, withWishedMtu } from "./connection-mtu.js";
import { type Connections, encodeRecord, type HeldConnection } from "./connections.js";
import type { CrossConnect, DataPlane, Port } from "./dataplane/dataplane.js";
import { classOf } from "./locality.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import { withMtu } from "./mtu.js";
import { withPortMetrics } from "./path-metrics.js";
import { type TrafficRules, trafficOf } from "./traffic.js";
import type { VniPool } from "./vni.js";
import { createCloseWait } from "./wait-for-close.js";

export interface CrossConnectOptions {
  readonly dataPlane: DataPlane;
  readonly kinds: readonly MechanismKind[];
  readonly connections: Connections;
  readonly vnis: VniPool;
  /** Mechanism types to propose first, in this order. */
  readonly priority: readonly string[];
  readonly traffic?: TrafficRules | undefined;
  readonly clock: Clock;
  /** Life of a cross-connect whose caller gives no expiry, in milliseconds. */
  readonly maxTokenLifetimeMs: number;
  readonly log: Log;
  readonly journal: Pick<Journal, "note">;
}

type Needs = HasNextHop & HasUndo;
type Onward = Rest<ConnectionApi> & Detachable<ConnectionApi, object>;

const step = "cross-connect";

/** Bound of the Close at the next hop, in milliseconds; how long ours waits for it: wait-for-close.ts. */
const closeTimeoutMs = 5_000;

/** How often a connection is negotiated when its VNI turns out to be taken. */
const maxTries = 4;

export function crossConnect(options: CrossConnectOptions): Element<ConnectionApi, Needs> {
  const { dataPlane, kinds, connections, log } = options;
  const waitForClose = createCloseWait(options.clock);
  return {
    name: step,
    steps: {
      async request(request, context, rest) {
        const { nextHop } = context;
        if (request.connection === undefined || nextHop === undefined)
          throw statusError(Code.INTERNAL, "no connection or no next hop");
        const connection = withWishedMtu(request.connection, connections.get(request.connection.id));
        const tell: TellMechanism = (...told) => options.journal.note(connection.id, step, ...told);
        if (connections.get(connection.id) === undefined) {
          context.undoOnFailure(step, (signal) => forget(connection.id, signal));
        }
        const asker = await acceptMechanism(connection, request.mechanism_preferences, kinds, tell);
        return waitForClose.asking(nextHop.url, () => negotiate(options, { connection, asker, nextHop, context, rest, tell }));
      },
      async close(connection, { signal, traceparent }, rest) {
        const { downstream, nextHop } = connections.get(connection.id) ?? {};
        const { mechanism, context } = downstream ?? connection;
        const told = withinTime(closeTimeoutMs, (until, deadlineMs) =>
          rest.detach({ signal: until, deadlineMs, traceparent }).close({ ...connection, mechanism, context }),
        ).catch((error) => {
          log.info("the next hop was not told of the close; it expires there", { connectionId: connection.id, error });
        });
        try {
          await forget(connection.id, signal);
        } finally {
          // A next hop that hangs, as that of a dead node does, must not keep who asks from going elsewhere.
          await waitForClose.until(nextHop?.url ?? "", told);
        }
      },
    },
  };

  async function forget(id: string, signal: AbortSignal): Promise<void> {
    await dataPlane.remove(id, signal);
    for (const kind of kinds) kind.release(id);
    connections.delete(id);
  }
}

interface Asked {
  readonly connection: Connection;
  readonly asker: Accepted;
  readonly nextHop: NextHop;
  readonly context: CallContext & Needs;
  readonly rest: Onward;
  readonly tell: TellMechanism;
}

/** Asks the next hop and builds; again with other numbers when a VNI is taken. */
async function negotiate(options: CrossConnectOptions, asked: Asked): Promise<Connection> {
  const { connection, context, rest } = asked;
  let { asker } = asked;
  let agreed = options.connections.get(connection.id)?.downstream.mechanism;
  for (let tries = 1; ; tries++) {
    const answer = await rest.request(await onwardRequest(options, { ...asked, asker }, agreed));
    try {
      const built = await build(options, { ...asked, asker }, answer);
      if (!(await kindOf(options, answer.mechanism)?.wantsAnotherRound?.(connection))) return built;
      return await askOnceMore(options, { ...asked, asker }, answer, built);
    } catch (error) {
      const taken = takenVni(asker, answer, error);
      if (taken === undefined || tries === maxTries || context.signal.aborted) throw error;
      options.log.info(`VNI ${taken.vni} is taken on this node; negotiating another`, { connectionId: connection.id, tries });
      asked.tell(`VXLAN with VNI ${taken.vni}`, "REFUSED", "the VNI is in use on this node");
      options.vnis.release(connection.id);
      options.vnis.avoid(taken.udpPort, taken.vni);
      if (taken.side === "asker") {
        asker = { ...asker, mechanism: await asker.kind.accept(connection, withoutVni(asker.mechanism)) };
        agreed = answer.mechanism;
      } else {
        await rest.close(answer);
        agreed = undefined;
      }
    }
  }
}

/** While keys are rotated: the new ones are built, and from now on to be used. What was built until now is good if that fails. */
async function askOnceMore(
  options: CrossConnectOptions,
  asked: Asked,
  answer: Connection,
  built: Connection,
): Promise<Connection> {
  try {
    const again = await asked.rest.request(await onwardRequest(options, asked, answer.mechanism));
    return await build(options, asked, again);
  } catch (error) {
    options.log.info("new keys are not used yet; the next refresh tries again", { connectionId: asked.connection.id, error });
    return built;
  }
}

/** The request in the terms of the next hop: its mechanism or our proposals, and the MTU that fits so far. */
async function onwardRequest(options: CrossConnectOptions, asked: Asked, agreed: Mechanism | undefined) {
  const { connection, asker, nextHop } = asked;
  const cls = classOf(nextHop.url);
  const offered = offeredKinds(connection, cls, asker.kind, options.kinds, {
    priority: options.priority,
    buildsNothing: options.dataPlane.name === "none",
  });
  const agreedKind = options.kinds.find(({ type }) => type === agreed?.type);
  // What the next hop hears of is also what our tunnel to it can carry by now.
  const mechanism = agreed && ((await agreedKind?.renew?.(connection, agreed)) ?? agreed);
  const sides = agreedKind && mechanism ? [asker, { kind: agreedKind, mechanism }] : [asker];
  const mtuBytes = await onwardMtuBytes(connection, sides, options.connections.get(connection.id));
  const onward: Connection = { ...connection, mechanism, context: withMtu(connection.context, mtuBytes) };
  const mechanism_preferences =
    mechanism === undefined ? await Promise.all(offered.map((kind) => kind.offer(connection, cls))) : [];
  return { connection: onward, mechanism_preferences };
}

/** Makes the data plane equal to what was agreed, and gives the answer for the side that asked. */
async function build(options: CrossConnectOptions, asked: Asked, answer: Connection): Promise<Connection> {
  const { dataPlane, connections } = options;
  const { connection, asker, nextHop, context } = asked;
  const mechanism = answer.mechanism;
  const kind = kindOf(options, mechanism);
  if (mechanism === undefined || kind === undefined) throw unknownAnswer(connection, mechanism);

  const before = connections.get(connection.id);
  const mtuBytes = await agreedMtuBytes(connection, answer, [asker, { kind, mechanism }], before);
  const own: Connection = { ...answer, context: withMtu(answer.context, mtuBytes) };
  const client = asker.kind.clientPort(own, asker.mechanism);
  const endpoint = endpointPort(own, kind, mechanism);
  claimVni(options, connection.id, endpoint);

  const answered: Connection = { ...own, mechanism: asker.kind.withMtu(asker.mechanism, mtuBytes) };
  const held: HeldConnection = {
    nextHop: { url: nextHop.url, name: connection.network_service_endpoint_name },
    answered,
    downstream: answer,
    generation: (before?.generation ?? 0) + 1,
    wishedMtuBytes: connection.context?.MTU ?? 0,
  };
  const expires = previousSegment(connection)?.expires;
  const crossConnect: CrossConnect = {
    id: connection.id,
    generation: held.generation,
    payload: payloadOf(connection),
    mtuBytes,
    ...trafficOf(connection, options.traffic, dataPlane),
    client,
    endpoint,
    expiresAtMs: expires === undefined ? options.clock.nowMs() + options.maxTokenLifetimeMs : timestampMs(expires),
    // made when a ledger asks for it: a data plane that builds nothing never does
    get record() {
      return encodeRecord(held);
    },
  };
  await dataPlane.ensure(crossConnect, context.signal);
  connections.set(connection.id, held);
  asked.tell(mechanism.type, "CHOSEN", `agreed with ${answer.network_service_endpoint_name} at ${nextHop.url}`);
  return withPortMetrics(answered, crossConnect, await dataPlane.counters(connection.id));
}

function kindOf({ kinds }: CrossConnectOptions, mechanism: Mechanism | undefined): MechanismKind | undefined {
  return kinds.find(({ type }) => type === mechanism?.type);
}

/** What the endpoint wrote is the endpoint's fault: the caller should take another one. */
function endpointPort(connection: Connection, kind: MechanismKind, mechanism: Mechanism): Port {
  try {
    return kind.endpointPort(connection, mechanism);
  } catch (error) {
    const { code, details } = toStatusError(error);
    if (code !== Code.INVALID_ARGUMENT) throw error;
    throw statusError(
      Code.FAILED_PRECONDITION,
      `answer of endpoint ${connection.network_service_endpoint_name}: ${details}`,
      error,
    );
  }
}

function claimVni({ vnis }: CrossConnectOptions, owner: string, port: Port): void {
  if (port.kind !== "vxlan" || vnis.claim({ owner, udpPort: port.udpPort, vni: port.vni })) return;
  throw vniTaken(owner, port.vni, port.udpPort);
}

function vniTaken(owner: string, vni: number, udpPort: number) {
  return statusError(
    Code.ALREADY_EXISTS,
    `connection ${owner}: VNI ${vni} is in use by another connection on UDP port ${udpPort} of this node; ask again for another`,
  );
}

/**
 * If the failure is about a VNI: which one, and which side it stands for. A data plane that refuses with ALREADY_EXISTS
 * names what is taken; the kernel may hold a VNI that no list shows, on a device that was moved into another namespace.
 */
function takenVni(asker: Accepted, answer: Connection, error: unknown) {
  const { code, details } = toStatusError(error);
  if (code !== Code.ALREADY_EXISTS || !/\bvni\b/i.test(details)) return undefined;
  const sides = { asker: asker.mechanism, answerer: answer.mechanism } as const;
  for (const side of ["asker", "answerer"] as const) {
    const mechanism = sides[side];
    if (mechanism?.type !== MechanismType.VXLAN) continue;
    const { vni, dstPort } = parseVxlan(mechanism, answer.id);
    if (vni !== undefined) return { vni, udpPort: dstPort ?? defaultVxlanPort, side };
  }
  return undefined;
}

function withoutVni(mechanism: Mechanism): Mechanism {
  return withParameters(mechanism, { [vxlanParameter.vni]: undefined });
}

function unknownAnswer(connection: Connection, mechanism: Mechanism | undefined) {
  const what = mechanism === undefined ? "no mechanism" : `mechanism ${mechanism.type.slice(0, 40)}, which was not proposed`;
  return statusError(
    Code.FAILED_PRECONDITION,
    `endpoint ${connection.network_service_endpoint_name} answered with ${what}; take another endpoint`,
  );
}
