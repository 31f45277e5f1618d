/** Messages on VPP's API socket: a head of 16 bytes with the length in it, then the message. */

const headBytes = 16;
/** More than the largest message table; a length beyond it is garbage. */
export const maxMessageBytes = 16 * 1024 * 1024;
/** A message has at least its id. */
const minMessageBytes = 2;

export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(headBytes + message.length);
  framed.writeUInt32BE(message.length, 8);
  framed.set(message, headBytes);
  return framed;
}

/**
 * Takes chunks as they come from the socket and gives whole messages.
 * @throws Error when what comes is no message; nothing that follows can be read then
 */
export function createDeframer(take: (message: Buffer) => void): (chunk: Buffer) => void {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let neededBytes = headBytes;
  return (chunk) => {
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (waitingBytes < neededBytes) return;
    const all = waiting.length === 1 ? chunk : Buffer.concat(waiting, waitingBytes);
    let at = 0;
    neededBytes = headBytes;
    while (all.length - at >= headBytes) {
      const length = all.readUInt32BE(at + 8);
      if (length < minMessageBytes || length > maxMessageBytes) throw new Error(`a message of ${length} bytes was announced`);
      if (all.length - at - headBytes < length) {
        neededBytes = headBytes + length;
        break;
      }
      at += headBytes + length;
      take(all.subarray(at - length, at));
    }
    waiting = at < all.length ? [all.subarray(at)] : [];
    waitingBytes = all.length - at;
  };
}
