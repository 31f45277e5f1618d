/**
 * Encodes a message once for all the streams it goes to: an event to 1,000 watchers costs one encoding.
 * Remembered for the last few messages only: a fan-out writes the same object to all its streams at nearly one time.
 */
import { type Codec, encodeMessage } from "./methods.js";

const remembered = 64;

/** The messages must not change after they have been handed over. */
export function sharedEncoder<T extends object>(codec: Codec<T>): (message: T) => Buffer {
  const recent = new Map<T, Buffer>();
  return (message) => {
    const known = recent.get(message);
    if (known !== undefined) return known;
    const bytes = encodeMessage(codec, message);
    recent.set(message, bytes);
    if (recent.size > remembered) {
      for (const oldest of recent.keys()) {
        recent.delete(oldest);
        break;
      }
    }
    return bytes;
  };
}
