/** DNS over TCP: each message behind its length, two bytes (RFC 1035 §4.2.2). */
import { maxMessageBytes } from "./message.js";

/** In one piece: some servers take a length that comes alone for the whole (RFC 7766 §8). */
export function framed(message: Buffer): Buffer {
  const frame = Buffer.alloc(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}

/** Takes pieces as they come and gives whole messages. Holds at most one message and one piece. */
export function createUnframer(onMessage: (message: Buffer) => void): (piece: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (piece) => {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece], Math.min(rest.length + piece.length, 2 * maxMessageBytes));
    while (rest.length >= 2) {
      const length = rest.readUInt16BE(0);
      if (rest.length < 2 + length) return;
      const message = rest.subarray(2, 2 + length);
      rest = rest.subarray(2 + length);
      onMessage(message);
    }
  };
}
