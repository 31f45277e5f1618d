/** DNS over TCP: each message behind its length, two bytes (RFC 1035 §4.2.2). */
/** In one piece: some servers take a length that comes alone for the whole (RFC 7766 §8). */
export function framed(message: Buffer): Buffer {
  const frame = Buffer.alloc(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}

/** Takes pieces as they come, of any size, and gives whole messages. Holds at most one message and one piece; each byte is copied once. */
export function createUnframer(onMessage: (message: Buffer) => void): (piece: Buffer) => void {
  let pieces: Buffer[] = [];
  let held = 0;
  let needed = 2;
  return (piece) => {
    pieces.push(piece);
    held += piece.length;
    if (held < needed) return;
    let rest = Buffer.concat(pieces);
    for (;;) {
      needed = rest.length < 2 ? 2 : 2 + rest.readUInt16BE(0);
      if (rest.length < needed) break;
      const message = rest.subarray(2, needed);
      rest = rest.subarray(needed);
      onMessage(message);
    }
    pieces = rest.length === 0 ? [] : [rest];
    held = rest.length;
  };
}
