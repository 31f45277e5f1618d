/**
 * A routing socket (rtnetlink(7)) of one network namespace: sends requests in batches, collects their answers.
 *
 * The kernel works on a request inside send(2), so an answer is there when it returns; nothing waits.
 * Only deletions make the kernel sleep (about 20 ms each); those go through `performOnThread`.
 */
import * as libc from "../libc.js";
import { type NetnsHandle, withNetns } from "../netns.js";
import { isSystemError, systemError } from "../system-error.js";
import {
  decodeAcknowledgement,
  decodeMessages,
  encodeMessages,
  formatError,
  type IncomingMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  type OutgoingMessage,
} from "./codec.js";

/** One thing asked of the kernel, with the words to name it in an error. */
export interface NetlinkRequest extends OutgoingMessage {
  /** What it attempts, with its object: "create vxlan nsm-1 vni=42". */
  readonly verb: string;
  /** Errors that mean the wished state is there already: EEXIST when adding, ENOENT or ESRCH when removing. */
  readonly tolerate?: readonly string[];
}

export interface NetlinkSocket {
  /**
   * Sends all requests, in order; the kernel works on all even if one fails. Returns the objects each one was answered with.
   * @throws SystemError of the first request refused with an error it does not tolerate
   */
  perform(requests: readonly NetlinkRequest[]): readonly (readonly IncomingMessage[])[];
  /** Like `perform`, but gives each request's refusal instead of throwing. */
  attempt(requests: readonly NetlinkRequest[]): readonly NetlinkAnswer[];
  /** Like `perform`, on a pool thread. One at a time per socket, and nothing else meanwhile. */
  performOnThread(requests: readonly NetlinkRequest[]): Promise<void>;
  /** Asks for all objects of a kind. Repeated when they changed meanwhile. */
  dump(request: NetlinkRequest): readonly IncomingMessage[];
  close(): void;
}

export interface NetlinkAnswer {
  readonly error: Error | undefined;
  readonly replies: readonly IncomingMessage[];
}

const NETLINK_ROUTE = 0;
const NETLINK_GENERIC = 16;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
/** Largest datagram of a dump is 32 KiB (netlink_dump in the kernel); twice that to be safe. */
const receiveBuffer = Buffer.alloc(65536);
/** Keeps the answers of one batch well inside the socket's receive buffer. */
const maxBatch = 64;
const maxDumpRounds = 10;

/** Opens a routing socket in that namespace, or in the thread's own. Equivalent: `ip -n NAMESPACE …`. */
export function openNetlinkSocket(netns?: Pick<NetnsHandle, "fd" | "ino">): NetlinkSocket {
  return openSocketOf(NETLINK_ROUTE, netns);
}

/** The same for generic netlink (generic.ts), the way to parts of the kernel that have numbers of their own. */
export function openGenericSocket(netns?: Pick<NetnsHandle, "fd" | "ino">): NetlinkSocket {
  return openSocketOf(NETLINK_GENERIC, netns);
}

function openSocketOf(protocol: number, netns: Pick<NetnsHandle, "fd" | "ino"> | undefined): NetlinkSocket {
  const openHere = (): number => openKernelSocket(protocol);
  const fd = netns === undefined ? openHere() : withNetns(netns, openHere);
  let sequence = 1;
  let open = true;

  const attempt = (requests: readonly NetlinkRequest[]): NetlinkAnswer[] => {
    // Its number may belong to somebody else by now.
    if (!open) throw new Error("netlink: the socket is closed");
    const answers: NetlinkAnswer[] = [];
    for (let start = 0; start < requests.length; start += maxBatch) {
      const batch = requests.slice(start, start + maxBatch);
      const first = sequence;
      sequence += batch.length;
      libc.send(fd, encodeMessages(batch.map(acknowledged), first), `send ${batch.length} netlink requests`);
      answers.push(...collectAnswers(fd, batch, first));
    }
    return answers;
  };
  const dumpOnce = (request: NetlinkRequest): { objects: IncomingMessage[]; complete: boolean } => {
    if (!open) throw new Error("netlink: the socket is closed");
    const own = sequence++;
    const message = { ...request, flags: request.flags | NLM_F_REQUEST | NLM_F_DUMP };
    libc.send(fd, encodeMessages([message], own), request.verb);
    return collectDump(fd, request, own);
  };
  return {
    perform(requests) {
      const answers = attempt(requests);
      for (const { error } of answers) if (error !== undefined) throw error;
      return answers.map(({ replies }) => replies);
    },
    attempt,
    async performOnThread(requests) {
      const first = sequence;
      sequence += requests.length;
      await libc.sendOnThread(fd, encodeMessages(requests.map(acknowledged), first), `send ${requests.length} netlink requests`);
      for (const { error } of collectAnswers(fd, requests, first)) if (error !== undefined) throw error;
    },
    dump(request) {
      for (let round = 1; ; round++) {
        const { objects, complete } = dumpOnce(request);
        if (complete || round === maxDumpRounds) return objects;
      }
    },
    close() {
      if (!open) return;
      open = false;
      libc.closeDescriptor(fd);
    },
  };
}

function openKernelSocket(protocol: number): number {
  const fd = libc.openSocket(libc.AF_NETLINK, libc.SOCK_RAW, protocol, "open a netlink socket");
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    try {
      libc.setSocketOption(fd, SOL_NETLINK, option, 1, "set a netlink option");
    } catch {
      // Older kernels lack some: error texts are then missing and dumps are filtered here alone.
    }
  }
  return fd;
}

function acknowledged(request: NetlinkRequest): OutgoingMessage {
  return { type: request.type, flags: request.flags | NLM_F_REQUEST | NLM_F_ACK, body: request.body };
}

function receiveMessages(fd: number): IncomingMessage[] {
  const length = libc.receive(fd, receiveBuffer, libc.MSG_DONTWAIT | libc.MSG_TRUNC, "receive netlink answers");
  if (length === undefined) throw formatError("the kernel gave no answer");
  if (length > receiveBuffer.length) throw formatError(`answer of ${length} bytes does not fit`);
  return decodeMessages(Buffer.from(receiveBuffer.subarray(0, length)));
}

function collectAnswers(fd: number, requests: readonly NetlinkRequest[], first: number): NetlinkAnswer[] {
  const replies: IncomingMessage[][] = requests.map(() => []);
  const errors: (Error | undefined)[] = requests.map(() => undefined);
  let missing = requests.length;
  while (missing > 0) {
    for (const message of receiveMessages(fd)) {
      const index = message.sequence - first;
      const request = requests[index];
      if (request === undefined) continue;
      if (message.type !== NLMSG_ERROR) {
        replies[index]?.push(message);
        continue;
      }
      missing -= 1;
      errors[index] = refusal(request, message);
    }
  }
  return requests.map((_, index) => ({ error: errors[index], replies: replies[index] ?? [] }));
}

function refusal(request: NetlinkRequest, message: IncomingMessage): Error | undefined {
  const { errnoNumber, text } = decodeAcknowledgement(message);
  if (errnoNumber === 0) return undefined;
  const error = systemError(request.verb, errnoNumber, text);
  return isSystemError(error) && request.tolerate?.includes(error.errno) ? undefined : error;
}

function collectDump(fd: number, request: NetlinkRequest, own: number): { objects: IncomingMessage[]; complete: boolean } {
  const objects: IncomingMessage[] = [];
  let complete = true;
  for (;;) {
    for (const message of receiveMessages(fd)) {
      if (message.sequence !== own) continue;
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) complete = false;
      if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
        const { errnoNumber, text } = decodeAcknowledgement(message);
        if (errnoNumber !== 0) throw systemError(request.verb, errnoNumber, text);
        if (message.type === NLMSG_DONE) return { objects, complete };
      } else {
        objects.push(message);
      }
    }
  }
}
