/**
 * What the forwarder remembers of each connection beside what travels in it: who comes next and what was agreed with
 * it. The same, as bytes, stands in the data plane's ledger, so that a restarted forwarder goes on where it was.
 */
import { Connection } from "../sdk/gen/connection.js";
import type { CrossConnect } from "./dataplane/dataplane.js";

export interface NextHop {
  readonly url: string;
  /** Name of the endpoint that the connection leads to. */
  readonly name: string;
}

export interface HeldConnection {
  readonly nextHop: NextHop;
  /** As the side that asked got it. */
  readonly answered: Connection;
  /** As the next hop answered it: with its mechanism. */
  readonly downstream: Connection;
  readonly generation: number;
  /** context.MTU that the side that asked wishes for, in bytes; 0: none. Undefined: an earlier version held it and did not know. */
  readonly wishedMtuBytes?: number | undefined;
}

export interface Connections {
  get(id: string): HeldConnection | undefined;
  set(id: string, held: HeldConnection): void;
  delete(id: string): void;
  all(): Iterable<readonly [id: string, held: HeldConnection]>;
}

export function createConnections(): Connections {
  const held = new Map<string, HeldConnection>();
  return {
    get: (id) => held.get(id),
    set: (id, connection) => void held.set(id, connection),
    delete: (id) => void held.delete(id),
    all: () => held.entries(),
  };
}

/** Bytes for the ledger: four parts, and a fifth one if the wished MTU is known, each after its length as 32 bits, big-endian. */
export function encodeRecord(held: Omit<HeldConnection, "generation">): Uint8Array {
  const parts = [
    Buffer.from(held.nextHop.url),
    Buffer.from(held.nextHop.name),
    Buffer.from(Connection.encode(held.answered).finish()),
    Buffer.from(Connection.encode(held.downstream).finish()),
    ...(held.wishedMtuBytes === undefined ? [] : [Buffer.from(String(held.wishedMtuBytes))]),
  ];
  return Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(part.length);
      return [length, part];
    }),
  );
}

/** Undefined if the bytes are not of `encodeRecord`. */
export function decodeRecord(crossConnect: Pick<CrossConnect, "record" | "generation">): HeldConnection | undefined {
  const bytes = Buffer.from(crossConnect.record);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 4 > bytes.length) return undefined;
    const length = bytes.readUInt32BE(at);
    if (at + 4 + length > bytes.length) return undefined;
    parts.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  const [url, name, answered, downstream, wished] = parts;
  if (url === undefined || name === undefined || answered === undefined || downstream === undefined) return undefined;
  try {
    return {
      nextHop: { url: url.toString(), name: name.toString() },
      answered: Connection.decode(answered),
      downstream: Connection.decode(downstream),
      generation: crossConnect.generation,
      wishedMtuBytes: wished === undefined ? undefined : mtuOf(wished.toString()),
    };
  } catch {
    return undefined;
  }
}

function mtuOf(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) ? Number(text) : undefined;
}
