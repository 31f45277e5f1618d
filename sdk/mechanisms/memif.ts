/**
 * MEMIF: a shared-memory packet interface between two processes.
 * Keys and meaning: NSM api, mechanisms/memif. The answering side owns the socket.
 */
import { createHash } from "node:crypto";
import { MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { makeMechanism, readParameters, sharedParameter } from "./parameters.js";

export const memifParameter = {
  /** Namespace in which the abstract socket lives. */
  netns: sharedParameter.inodeUrl,
  /** "@name" for an abstract socket, else a path. */
  socketFile: "socketfile",
} as const;

/** Room for a path in sockaddr_un (unix(7)), without the terminating NUL. */
const maxSocketPathBytes = 107;

export interface MemifParameters {
  readonly netnsUrl: string;
  readonly socketFile: string;
}

export function memifMechanism(options: { readonly netnsUrl?: string; readonly socketFile?: string }): Mechanism {
  return makeMechanism(MechanismClass.LOCAL, MechanismType.MEMIF, {
    [memifParameter.netns]: options.netnsUrl ?? "",
    [memifParameter.socketFile]: options.socketFile || undefined,
  });
}

/** The abstract socket of whoever listens for a connection, named by the listener's own id of it (as NSM names them). */
export function memifSocketName(connectionId: string): string {
  const name = `@weft/memif/${connectionId}/memif.socket`;
  if (Buffer.byteLength(name) <= maxSocketPathBytes && !name.includes("\0")) return name;
  return `@weft/memif/${createHash("sha256").update(connectionId).digest("hex")}/memif.socket`;
}

/** @throws INVALID_ARGUMENT when the socket's name cannot be one */
export function parseMemif(mechanism: Mechanism, connectionId: string): MemifParameters {
  const read = readParameters(mechanism, connectionId);
  const socketFile = read.text(memifParameter.socketFile);
  if (Buffer.byteLength(socketFile) > maxSocketPathBytes || socketFile.includes("\0")) {
    throw read.refuse(memifParameter.socketFile, `a socket name of at most ${maxSocketPathBytes} bytes without NUL`);
  }
  return { netnsUrl: read.text(memifParameter.netns), socketFile };
}
