/** How one type of mechanism is spoken on the two sides of a forwarder. One file of this folder for each type. */
import type { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import type { Connection, Mechanism } from "../../sdk/gen/connection.js";
import type { Port } from "../dataplane/dataplane.js";

export interface MechanismKind {
  readonly type: MechanismType;
  readonly classes: readonly MechanismClass[];
  /** Payloads that it carries. */
  readonly payloads: readonly Payload[];
  /**
   * Towards the side that asks: what it wrote, completed by what this side decides (name, VNI, own address).
   * Asking again with the result changes nothing.
   * @throws INVALID_ARGUMENT what it wrote is malformed; FAILED_PRECONDITION it does not fit this node;
   *         RESOURCE_EXHAUSTED nothing is left to give
   */
  accept(connection: Connection, mechanism: Mechanism): Promise<Mechanism>;
  /** Towards the side that answers: what this side proposes. */
  offer(connection: Connection, cls: MechanismClass): Promise<Mechanism>;
  /** What a refresh proposes to the side that answers, from what was agreed before; absent: the same again. */
  renew?(connection: Connection, agreed: Mechanism): Promise<Mechanism>;
  /** Asked when the answer of that side has been built: whether to ask it again at once. */
  wantsAnotherRound?(connection: Connection): Promise<boolean>;
  /** Largest packet that fits through, in bytes; undefined = it does not matter. */
  mtuBytes(connection: Connection, mechanism: Mechanism): Promise<number | undefined>;
  /** As `mtuBytes`, of packets that have been seen to pass; undefined: nothing was seen. Absent: there is nothing to be seen. */
  provenMtuBytes?(connection: Connection, mechanism: Mechanism): Promise<number | undefined>;
  /** What to build towards the side that asked, from the mechanism that `accept` gave. */
  clientPort(connection: Connection, mechanism: Mechanism): Port;
  /** What to build towards the side that answered, from the mechanism in its answer. */
  endpointPort(connection: Connection, mechanism: Mechanism): Port;
  /** Writes down an MTU that is lower than what the mechanism says; the same object if it says nothing of it. */
  withMtu(mechanism: Mechanism, mtuBytes: number): Mechanism;
  /** Gives back what `accept` has taken for the connection. */
  release(connectionId: string): void;
}

/** For the fields that most mechanisms have no use for. */
export const plain = {
  mtuBytes: async (): Promise<undefined> => undefined,
  withMtu: (mechanism: Mechanism): Mechanism => mechanism,
  release: (): void => {},
} as const;
