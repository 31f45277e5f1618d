/** Control messages that carry descriptors: cmsg(3), SCM_RIGHTS of unix(7), as laid out on 64-bit Linux (pure). */

/** Bound of the kernel (SCM_MAX_FD). */
export const maxDescriptorsPerMessage = 253;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const headerBytes = 16;

/** All descriptors in the control part of a received message; messages of other kinds and what is cut off are passed over. */
export function parseRights(control: Buffer): number[] {
  const descriptors: number[] = [];
  let offset = 0;
  while (offset + headerBytes <= control.length) {
    const length = control.readBigUInt64LE(offset);
    if (length < BigInt(headerBytes)) break;
    const end = length > BigInt(control.length - offset) ? control.length : offset + Number(length);
    if (control.readInt32LE(offset + 8) === SOL_SOCKET && control.readInt32LE(offset + 12) === SCM_RIGHTS) {
      for (let place = offset + headerBytes; place + 4 <= end; place += 4) descriptors.push(control.readInt32LE(place));
    }
    offset = align(end);
  }
  return descriptors;
}

/** The control part that carries one descriptor; shared, to be used at once. */
export function rightsOf(descriptor: number): Buffer {
  one.writeInt32LE(descriptor, headerBytes);
  return one;
}

const one = Buffer.alloc(align(headerBytes + 4));
one.writeBigUInt64LE(BigInt(headerBytes + 4), 0);
one.writeInt32LE(SOL_SOCKET, 8);
one.writeInt32LE(SCM_RIGHTS, 12);

function align(offset: number): number {
  return (offset + 7) & ~7;
}
