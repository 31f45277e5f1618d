/**
 * The Huffman code of HPACK (RFC 7541 appendix B), decoding only: what we send is not coded.
 * The code is canonical: it follows from the lengths alone.
 */
import { connectionFault, Reset } from "./frames.js";

/** Bits of the code of each byte; the last is that of the end mark. */
const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22,
  23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22,
  21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26,
  27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26,
  26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const endMark = 256;
/** Marks in an entry of the table beside the next state (bits 0–7) and the byte (bits 8–15). */
const emits = 1 << 16;
const mayEnd = 1 << 17;
const faulty = 1 << 18;

let steps: Uint32Array | undefined;
let scratch = Buffer.allocUnsafeSlow(1024);

/** @throws ConnectionFault it is no such code, or is padded with something else than the beginning of the end mark */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  steps ??= buildSteps();
  const table = steps;
  // the shortest code has five bits
  const longest = Math.ceil(((end - start) * 8) / 5);
  if (scratch.length < longest) scratch = Buffer.allocUnsafeSlow(longest);
  let length = 0;
  let entry = mayEnd;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    entry = table[((entry & 0xff) << 4) | (byte >>> 4)] as number;
    if ((entry & emits) !== 0) scratch[length++] = entry >>> 8;
    if ((entry & faulty) !== 0) break;
    entry = table[((entry & 0xff) << 4) | (byte & 15)] as number;
    if ((entry & emits) !== 0) scratch[length++] = entry >>> 8;
    if ((entry & faulty) !== 0) break;
  }
  if ((entry & faulty) !== 0 || (entry & mayEnd) === 0)
    throw connectionFault(Reset.COMPRESSION_ERROR, "a header is coded wrongly");
  return scratch.toString("latin1", 0, length);
}

/** A tree of the code: for each inner node its two children; negative = the leaf of byte −n−1. */
function buildTree(): number[][] {
  const nodes: number[][] = [[0, 0]];
  const order = lengths.map((length, byte) => ({ length, byte })).sort((a, b) => a.length - b.length || a.byte - b.byte);
  let code = 0;
  let before = order[0]?.length ?? 0;
  for (const { length, byte } of order) {
    code *= 2 ** (length - before);
    before = length;
    let node = 0;
    for (let bit = length - 1; bit >= 0; bit--) {
      const side = Math.floor(code / 2 ** bit) % 2;
      const children = nodes[node] as number[];
      if (bit === 0) children[side] = -byte - 1;
      else {
        if (children[side] === 0) children[side] = nodes.push([0, 0]) - 1;
        node = children[side] as number;
      }
    }
    code++;
  }
  return nodes;
}

/** From each state, which is a node of the tree, by each four bits: at most one byte comes of them. */
function buildSteps(): Uint32Array {
  const nodes = buildTree();
  const padding = new Set([0]);
  for (let node = 0, depth = 0; depth < 7; depth++) {
    node = nodes[node]?.[1] ?? 0;
    padding.add(node);
  }
  const table = new Uint32Array(nodes.length * 16);
  for (let state = 0; state < nodes.length; state++) {
    for (let bits = 0; bits < 16; bits++) {
      let node = state;
      let entry = 0;
      for (let bit = 3; bit >= 0 && (entry & faulty) === 0; bit--) {
        const next = nodes[node]?.[(bits >>> bit) & 1] ?? 0;
        if (next === -endMark - 1) entry |= faulty;
        else if (next < 0) entry |= emits | ((-next - 1) << 8);
        node = Math.max(next, 0);
      }
      table[(state << 4) | bits] = entry | node | (padding.has(node) ? mayEnd : 0);
    }
  }
  return table;
}
