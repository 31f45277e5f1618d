/** HTTP/2 on the wire: numbers of RFC 9113 §6, §7 and how a frame begins. */

export const Frame = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const Reset = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
} as const;

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Length of a frame's own header, in bytes. */
export const frameHead = 9;
/** Largest frame that we take, and that others take until they say more, in bytes. */
export const defaultFrameBytes = 16_384;
/** Window of a new stream and of a connection until something else is said, in bytes. */
export const defaultWindow = 65_535;
export const maxWindow = 2 ** 31 - 1;

/** Writes the head of a frame; the offset behind it. */
export function writeHead(buffer: Buffer, at: number, length: number, type: number, flags: number, id: number): number {
  buffer[at] = length >>> 16;
  buffer[at + 1] = length >>> 8;
  buffer[at + 2] = length;
  buffer[at + 3] = type;
  buffer[at + 4] = flags;
  buffer[at + 5] = id >>> 24;
  buffer[at + 6] = id >>> 16;
  buffer[at + 7] = id >>> 8;
  buffer[at + 8] = id;
  return at + frameHead;
}

export function writeNumber(buffer: Buffer, at: number, value: number): number {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
  return at + 4;
}

/** A fault of the peer that ends the whole connection (RFC 9113 §5.4.1). */
export interface ConnectionFault extends Error {
  readonly reset: number;
}

export function connectionFault(reset: number, text: string): ConnectionFault {
  return Object.assign(new Error(text), { reset });
}
