/**
 * Which mechanism connects the side that asks, and which ones are proposed to the side that answers.
 * Rules: NSM's mechanisms and filtermechanisms elements. An agreed mechanism is kept; else the first preference that
 * works wins. Proposals go in the order of the setting NSM_MECHANISM_PRIORITY, then in our own.
 */
import { MechanismClass, MechanismType, Payload } from "../sdk/api.js";
import type { Connection, Mechanism } from "../sdk/gen/connection.js";
import { wireguardRemedy } from "../sdk/linux/wireguard-go.js";
import { Code, type StatusError, statusError, toStatusError } from "../sdk/status.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";

export interface Accepted {
  readonly kind: MechanismKind;
  readonly mechanism: Mechanism;
}

/** Told of each mechanism that was looked at, for `weft why`. */
export type TellMechanism = (mechanism: string, verdict: "CHOSEN" | "REFUSED", rule: string) => void;

/** The payload of a connection; an empty one is Ethernet, which carries everything. */
export function payloadOf(connection: Connection): Payload {
  const { payload, id } = connection;
  if (payload === "" || payload === Payload.ETHERNET) return Payload.ETHERNET;
  if (payload === Payload.IP) return Payload.IP;
  throw statusError(
    Code.INVALID_ARGUMENT,
    `connection ${id} has the payload ${JSON.stringify(payload.slice(0, 40))}; use ETHERNET or IP`,
  );
}

/**
 * @throws INVALID_ARGUMENT when nothing is asked for or what is asked for is malformed;
 *         FAILED_PRECONDITION when this forwarder cannot do any of it, with the reason for each
 */
export async function acceptMechanism(
  connection: Connection,
  preferences: readonly Mechanism[],
  kinds: readonly MechanismKind[],
  tell: TellMechanism,
): Promise<Accepted> {
  const asked = connection.mechanism === undefined ? preferences : [connection.mechanism];
  if (asked.length === 0) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `connection ${connection.id} asks for no mechanism; give at least one preference, such as KERNEL`,
    );
  }
  const payload = payloadOf(connection);
  const refusals: StatusError[] = [];
  for (const mechanism of asked) {
    try {
      const kind = kindFor(connection.id, mechanism, payload, kinds);
      const accepted = await kind.accept(connection, mechanism);
      tell(mechanism.type, "CHOSEN", connection.mechanism === undefined ? "first preference that works here" : "agreed before");
      return { kind, mechanism: accepted };
    } catch (error) {
      const refusal = toStatusError(error);
      if (refusal.code === Code.INTERNAL) throw error;
      tell(mechanism.type, "REFUSED", refusal.details);
      refusals.push(refusal);
    }
  }
  const [only] = refusals;
  if (only !== undefined && refusals.length === 1) throw only;
  throw statusError(
    Code.FAILED_PRECONDITION,
    `connection ${connection.id}: none of the ${asked.length} preferred mechanisms works here: ${refusals.map(({ details }) => details).join("; ")}`,
  );
}

function kindFor(connectionId: string, mechanism: Mechanism, payload: Payload, kinds: readonly MechanismKind[]): MechanismKind {
  const type = mechanism.type.slice(0, 40) || "without a type";
  const kind = kinds.find((candidate) => candidate.type === mechanism.type);
  if (kind === undefined) {
    const have = kinds.map((candidate) => candidate.type).join(", ");
    const remedy = mechanism.type === MechanismType.WIREGUARD ? `, or ${wireguardRemedy} on this node` : "";
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connectionId}: mechanism ${type} is not available here; use ${have}${remedy}`,
    );
  }
  if (!kind.classes.some((cls) => cls === mechanism.cls)) {
    const found = JSON.stringify(mechanism.cls.slice(0, 20));
    throw statusError(
      Code.INVALID_ARGUMENT,
      `connection ${connectionId}: mechanism ${type} has the class ${found}; give ${kind.classes.join(" or ")}`,
    );
  }
  if (!kind.payloads.includes(payload)) throw wrongPayload(connectionId, payload, [type]);
  return kind;
}

/**
 * What to propose to the side that answers.
 * @param asker  the kind that connects the side that asked: no tunnel is passed on into a tunnel
 * @throws FAILED_PRECONDITION when nothing can be proposed, with the reason
 */
export function offeredKinds(
  connection: Connection,
  cls: MechanismClass,
  asker: MechanismKind,
  kinds: readonly MechanismKind[],
  options: { readonly priority: readonly string[]; readonly buildsNothing: boolean },
): MechanismKind[] {
  const payload = payloadOf(connection);
  const fitting = kinds.filter((kind) => kind.classes.includes(cls));
  const carrying = fitting.filter((kind) => kind.payloads.includes(payload));
  const buildable = carrying.filter((kind) => options.buildsNothing || canJoin(asker, kind));
  if (buildable.length > 0) return sortedBy(options.priority, buildable);
  if (fitting.length > 0 && carrying.length < fitting.length) {
    const types = fitting.filter((kind) => !carrying.includes(kind)).map(({ type }) => type);
    throw wrongPayload(connection.id, payload, types);
  }
  if (isTunnel(asker)) throw notHere(connection);
  const where = cls === MechanismClass.REMOTE ? "on another node" : "on this node";
  const remedy = cls === MechanismClass.REMOTE ? "; give the forwarder a tunnel address (NSM_TUNNEL_IP)" : "";
  throw statusError(
    Code.FAILED_PRECONDITION,
    `connection ${connection.id}: endpoint ${connection.network_service_endpoint_name} is ${where}, ` +
      `and this forwarder has nothing that joins ${asker.type} to it (it has ${kinds.map(({ type }) => type).join(", ")})${remedy}`,
  );
}

/** NOOP has nothing to join to; a tunnel ends at a workload of this node. */
function canJoin(asker: MechanismKind, answerer: MechanismKind): boolean {
  const noops = [asker, answerer].filter(({ type }) => type === MechanismType.NOOP).length;
  return noops === 2 || (noops === 0 && !(isTunnel(asker) && isTunnel(answerer)));
}

function isTunnel({ classes, type }: MechanismKind): boolean {
  return type !== MechanismType.NOOP && classes.includes(MechanismClass.REMOTE);
}

function sortedBy(priority: readonly string[], kinds: readonly MechanismKind[]): MechanismKind[] {
  const rank = ({ type }: MechanismKind): number => {
    const index = priority.indexOf(type);
    return index < 0 ? priority.length : index;
  };
  return [...kinds].sort((a, b) => rank(a) - rank(b));
}

function wrongPayload(connectionId: string, payload: Payload, types: readonly string[]): StatusError {
  const reason =
    payload === Payload.IP
      ? `payload IP needs WIREGUARD between nodes, which this forwarder does not have (${types.join(", ")} carries ETHERNET only); ` +
        `${wireguardRemedy}; or register the network service with payload ETHERNET, or run an endpoint on the client's node`
      : `payload ${payload} does not fit ${types.join(", ")}; register the network service with payload IP`;
  return statusError(Code.FAILED_PRECONDITION, `connection ${connectionId}: ${reason}`);
}

function notHere(connection: Connection): StatusError {
  return statusError(
    Code.FAILED_PRECONDITION,
    `connection ${connection.id}: endpoint ${connection.network_service_endpoint_name} is not on this node, ` +
      "and a tunnel is not passed on into another tunnel; ask for the connection anew",
  );
}
