/**
 * One question to one server, from inside a network namespace. Each has a socket of its own, so a port of its own, and an
 * id of its own; only the server's address can answer, and only what fits the question counts.
 */
import { randomInt } from "node:crypto";
import { Socket } from "node:net";
import { connectedSocket } from "../../sdk/linux/inet-socket.js";
import { closeDescriptor, MSG_DONTWAIT, pollReadable, receive, send } from "../../sdk/linux/libc.js";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { withId } from "./answers.js";
import { headerBytes, idOf, isResponse, lowerCase, maxMessageBytes, opcodeOf, rcode, rcodeOf } from "./message.js";
import { createUnframer, framed } from "./tcp-frames.js";

export type Transport = "udp" | "tcp";

/** Whence is asked. */
export interface Place {
  readonly netns: Pick<NetnsHandle, "fd" | "ino">;
  /** By which rules of the namespace let us pass. */
  readonly mark: number;
  /** From then on nothing is asked from there: the handle of the namespace is closed. */
  readonly signal: AbortSignal;
}

export interface AskOptions extends Place {
  readonly server: string;
  readonly transport: Transport;
  readonly timeoutMs: number;
  /** UDP: when to send it once more, in milliseconds from the start. */
  readonly repeatsMs?: readonly number[];
}

const dnsPort = 53;
/** A server that sends more than that of what nobody asked for is not listened to any longer. */
const maxWrongAnswers = 100;
const buffer = Buffer.alloc(maxMessageBytes);

/** The answer, with the id of `query`. @throws when there is none: refused by the host, unreachable, not in time */
export async function ask(query: Buffer, options: AskOptions): Promise<Buffer> {
  const sent = withId(query, randomInt(0x10000));
  const answer = await (options.transport === "udp" ? askByUdp(sent, options) : askByTcp(sent, options));
  answer.writeUInt16BE(idOf(query), 0);
  return answer;
}

/** Whether these bytes can be the answer: same id, same operation, same question but for cases (some servers leave it out of refusals). */
export function answers(query: Buffer, bytes: Buffer): boolean {
  if (bytes.length < headerBytes || idOf(bytes) !== idOf(query) || !isResponse(bytes) || opcodeOf(bytes) !== opcodeOf(query))
    return false;
  const asked = questionText(query);
  if (asked === undefined) return true;
  if (bytes.readUInt16BE(4) === 0) return rcodeOf(bytes) !== rcode.noError && rcodeOf(bytes) !== rcode.nameError;
  return questionText(bytes.subarray(0, headerBytes + asked.length)) === asked;
}

/** The bytes of the question section in lower case; undefined: not one question. Lengths of labels are no letters, so cases do no harm. */
function questionText(bytes: Buffer): string | undefined {
  if (bytes.readUInt16BE(4) !== 1) return undefined;
  let at = headerBytes;
  for (let length = bytes[at]; length !== undefined && length !== 0; length = bytes[at]) {
    if (length > 63) return undefined;
    at += length + 1;
  }
  const end = at + 5;
  return end > bytes.length ? undefined : lowerCase(bytes.toString("latin1", headerBytes, end));
}

function askByUdp(query: Buffer, { netns, mark, server, timeoutMs, repeatsMs = [], signal }: AskOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const fd = connectedSocket(netns, "udp", server, dnsPort, { mark });
    const timers: NodeJS.Timeout[] = [];
    let wrong = 0;
    const end = (settle: () => void): void => {
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      poll.close();
      closeDescriptor(fd);
      settle();
    };
    const fail = (error: unknown): void => end(() => reject(error));
    const aborted = (): void => fail(signal.reason);
    const transmit = (): void => {
      try {
        send(fd, query, `ask ${server}`);
      } catch (error) {
        fail(error);
      }
    };
    const look = (): void => {
      try {
        for (let length = take(); length !== undefined; length = take()) {
          const bytes = buffer.subarray(0, length);
          if (answers(query, bytes)) {
            const answer = Buffer.from(bytes);
            end(() => resolve(answer));
            return;
          }
          if (++wrong >= maxWrongAnswers) throw new Error(`${server} answers what it was not asked`);
        }
      } catch (error) {
        fail(error);
      }
    };
    const take = (): number | undefined => receive(fd, buffer, MSG_DONTWAIT, `hear of ${server}`);
    const poll = pollReadable(fd, look);
    timers.push(setTimeout(() => fail(new Error(`${server} does not answer within ${timeoutMs} ms`)), timeoutMs));
    for (const ms of repeatsMs) if (ms < timeoutMs) timers.push(setTimeout(transmit, ms));
    signal.addEventListener("abort", aborted, { once: true });
    transmit();
  });
}

function askByTcp(query: Buffer, { netns, mark, server, timeoutMs, signal }: AskOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const socket = new Socket({ fd: connectedSocket(netns, "tcp", server, dnsPort, { mark }), readable: true, writable: true });
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      socket.destroy();
      settle();
    };
    const fail = (error: unknown): void => end(() => reject(error));
    const aborted = (): void => fail(signal.reason);
    const timer = setTimeout(() => fail(new Error(`${server} does not answer by TCP within ${timeoutMs} ms`)), timeoutMs);
    signal.addEventListener("abort", aborted, { once: true });
    const unframe = createUnframer((bytes) => {
      if (answers(query, bytes)) end(() => resolve(Buffer.from(bytes)));
      else fail(new Error(`${server} answers what it was not asked`));
    });
    socket.on("data", unframe);
    socket.on("error", fail);
    socket.on("close", () => fail(new Error(`${server} closed the connection without an answer`)));
    socket.write(framed(query));
  });
}
