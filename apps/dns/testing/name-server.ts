/** A name server for tests, in a namespace of its own: answers by a function, over UDP and TCP, and remembers what it was asked. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIPv6, type Socket } from "node:net";
import { boundSocket } from "../../../sdk/linux/inet-socket.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import type { CleanUp } from "../../../sdk/testing/cleanup.js";
import type { Transport } from "../ask.js";
import { rcode, readQuestion, recordType, writeName } from "../message.js";
import { createUnframer, framed } from "../tcp-frames.js";

export interface NameServer {
  /** "UDP a.example A", in their order. */
  readonly asked: string[];
  /** What it answers from now on. */
  answer: AnswerBytes;
}

/** Undefined: says nothing. Several: one datagram each. */
export type AnswerBytes = (query: Buffer, transport: Transport) => Buffer | readonly Buffer[] | undefined;

/** name → addresses and texts; "" in the list: the name exists without such a record. */
export type Names = Readonly<Record<string, readonly string[]>>;

export async function startNameServer(
  t: CleanUp,
  netns: Pick<NetnsHandle, "fd" | "ino">,
  address: string,
  answer: AnswerBytes,
): Promise<NameServer> {
  const server: NameServer = { asked: [], answer };
  const reply = (query: Buffer, transport: Transport): readonly Buffer[] => {
    const question = readQuestion(query);
    const type = Object.entries(recordType).find(([, number]) => number === question?.type)?.[0] ?? String(question?.type);
    server.asked.push(`${transport} ${question?.name} ${type}`);
    const bytes = server.answer(query, transport);
    return bytes === undefined ? [] : bytes instanceof Buffer ? [bytes] : (bytes as readonly Buffer[]);
  };
  const udp = createSocket(isIPv6(address) ? "udp6" : "udp4");
  udp.on("message", (query, from) => {
    for (const bytes of reply(query, "udp")) udp.send(bytes, from.port, from.address, () => {});
  });
  udp.bind({ fd: boundSocket(netns, "udp", address, 53).fd });
  const clients = new Set<Socket>();
  const tcp = createServer((socket) => {
    clients.add(socket);
    socket.on("error", () => {});
    socket.on(
      "data",
      createUnframer((query) => {
        for (const bytes of reply(Buffer.from(query), "tcp")) socket.write(framed(bytes));
      }),
    );
  });
  tcp.listen({ fd: boundSocket(netns, "tcp", address, 53).fd });
  await once(tcp, "listening");
  t.after(() => {
    udp.close();
    tcp.close();
    for (const client of clients) client.destroy();
  });
  return server;
}

/** An authoritative server of these names: A, AAAA by the form of the address, PTR and TXT by the type; others do not exist. */
export function knowing(names: Names, options: { readonly ttl?: number; readonly udpBytes?: number } = {}): AnswerBytes {
  return (query, transport) => {
    const question = readQuestion(query);
    if (question === undefined) return undefined;
    const known = Object.hasOwn(names, question.name ?? "") ? names[question.name ?? ""] : undefined;
    if (known === undefined) return message(query, rcode.nameError, [], soa());
    const records = known.flatMap((text) => recordFor(question.type, text, options.ttl ?? 60));
    const whole = message(query, rcode.noError, records, records.length === 0 ? soa() : undefined);
    if (transport === "tcp" || whole.length <= (options.udpBytes ?? 1232)) return whole;
    const cut = message(query, rcode.noError, []);
    cut.writeUInt8(cut.readUInt8(2) | 0x02, 2);
    return cut;
  };
}

export function message(query: Buffer, code: number, answers: readonly Buffer[], authority?: Buffer): Buffer {
  const head = Buffer.from(query.subarray(0, readQuestion(query)?.end ?? 12));
  head.writeUInt8(0x84 | (head.readUInt8(2) & 1), 2);
  head.writeUInt8(0x80 | code, 3);
  head.writeUInt16BE(answers.length, 6);
  head.writeUInt16BE(authority === undefined ? 0 : 1, 8);
  head.writeUInt16BE(0, 10);
  return Buffer.concat([head, ...answers, ...(authority === undefined ? [] : [authority])]);
}

/** A record whose name is that of the question. */
export function record(type: number, ttl: number, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(0xc00c, 0);
  bytes.writeUInt16BE(type, 2);
  bytes.writeUInt16BE(1, 4);
  bytes.writeUInt32BE(ttl, 6);
  bytes.writeUInt16BE(data.length, 10);
  return Buffer.concat([bytes, data]);
}

function recordFor(type: number, text: string, ttl: number): Buffer[] {
  const v4 = /^\d+\.\d+\.\d+\.\d+$/.test(text);
  if (type === recordType.a && v4) return [record(type, ttl, Buffer.from(text.split(".").map(Number)))];
  if (type === recordType.aaaa && isIPv6(text)) return [record(type, ttl, bytesOf6(text))];
  if (type === recordType.ptr && !v4 && !isIPv6(text)) return [record(type, ttl, writeName(text) ?? Buffer.from([0]))];
  return [];
}

function bytesOf6(text: string): Buffer {
  const [head = "", tail = ""] = text.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const fill = Array.from({ length: 8 - groups(head).length - groups(tail).length }, () => "0");
  const all = text.includes("::") ? [...groups(head), ...fill, ...groups(tail)] : groups(text);
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
}

/** Of the question's name: a "no" may be kept for two seconds. */
function soa(): Buffer {
  return record(
    recordType.soa,
    2,
    Buffer.concat([
      Buffer.from([0, 0]),
      Buffer.from([1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0, 0]),
      Buffer.from([0, 0, 0, 0, 0, 0, 0, 2]),
    ]),
  );
}
