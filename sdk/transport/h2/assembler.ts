/** From the bytes of a stream to gRPC messages: each has a byte that says whether it is compressed, its length, and itself. */
import { builtin } from "../../builtin.js";
import { Code, statusError } from "../../status.js";
import { messageHead } from "./streams.js";

export interface Assembler {
  /**
   * @throws RESOURCE_EXHAUSTED a message is too large, or too much is half received on this connection; UNIMPLEMENTED,
   *         INTERNAL it is compressed in another way than was said
   */
  take(bytes: Buffer): void;
  /** Whether a message has begun and not come to its end. */
  readonly incomplete: boolean;
  /** Lets go of what is half received. */
  drop(): void;
}

export interface AssemblerOptions {
  readonly maxBytes: number;
  /** Value of grpc-encoding; undefined = not compressed. */
  readonly encoding: string | undefined;
  readonly give: (message: Buffer) => void;
  /** What is half received on the whole connection, in bytes. */
  readonly shared: { held: number; readonly max: number };
}

const none = Buffer.alloc(0);
const firstBytes = 1024;

export function createAssembler({ maxBytes, encoding, give, shared }: AssemblerOptions): Assembler {
  let held: Buffer = none;
  let have = 0;

  function lengthOf(head: Buffer): number {
    const length = head.readUInt32BE(1);
    if (length > maxBytes) {
      throw statusError(Code.RESOURCE_EXHAUSTED, `a message of ${length} bytes is larger than the ${maxBytes} that are taken`);
    }
    return messageHead + length;
  }

  function opened(whole: Buffer, end: number): Buffer {
    const message = whole.subarray(messageHead, end);
    return whole[0] === 0 ? message : unpack(message, encoding, maxBytes);
  }

  function keep(bytes: Buffer): void {
    const needed = have + bytes.length;
    if (needed > held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(firstBytes, needed, Math.min(2 * held.length, messageHead + maxBytes)));
      shared.held += grown.length - held.length;
      held.copy(grown, 0, 0, have);
      held = grown;
      if (shared.held > shared.max) throw statusError(Code.RESOURCE_EXHAUSTED, "too many unfinished messages on this connection");
    }
    bytes.copy(held, have);
    have = needed;
  }

  function drop(): void {
    shared.held -= held.length;
    held = none;
    have = 0;
  }

  return {
    get incomplete() {
      return have > 0;
    },
    drop,
    take(bytes) {
      let rest = bytes;
      while (rest.length > 0) {
        if (have === 0 && rest.length >= messageHead) {
          const end = lengthOf(rest);
          if (rest.length < end) {
            keep(rest);
            return;
          }
          const message = opened(rest, end);
          rest = rest.subarray(end);
          give(message);
          continue;
        }
        // what is missing of this message, the first bytes of the next one stay out
        const wanted = have < messageHead ? messageHead : lengthOf(held);
        const part = rest.subarray(0, wanted - have);
        keep(part);
        rest = rest.subarray(part.length);
        if (have < messageHead || have < lengthOf(held)) continue;
        const message = opened(held, have);
        drop();
        give(message);
      }
    },
  };
}

/** A bomb is cut off at the size that a message may have. */
function unpack(message: Buffer, encoding: string | undefined, maxBytes: number): Buffer {
  if (encoding !== "gzip" && encoding !== "deflate") {
    throw statusError(Code.UNIMPLEMENTED, `a message is compressed by ${encoding ?? "an unnamed means"}; send it as identity`);
  }
  try {
    const zlib = builtin("node:zlib");
    const options = { maxOutputLength: maxBytes };
    return encoding === "gzip" ? zlib.gunzipSync(message, options) : zlib.inflateSync(message, options);
  } catch (error) {
    const tooLarge = (error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE";
    if (tooLarge) throw statusError(Code.RESOURCE_EXHAUSTED, `a message is above ${maxBytes} bytes when it is unpacked`);
    throw statusError(Code.INTERNAL, `a message is not compressed by ${encoding}`, error);
  }
}
